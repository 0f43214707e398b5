// The views, four pixels at a time, where rows are a multiple of that.
@group(0) @binding(5) var<storage, read_write> views: array<vec4<u32>>;

fn load_quad(view: u32, y: u32, row_quad: u32) -> vec4<u32> {
  return views[(view * HEIGHT + y) * ROW_QUADS + row_quad];
}

fn store_quad(view: u32, y: u32, row_quad: u32, pixels: vec4<u32>) {
  views[(view * HEIGHT + y) * ROW_QUADS + row_quad] = pixels;
}

// The views, four pixels at a time, where the last quad of a row may have fewer; they are black there.
@group(0) @binding(5) var<storage, read_write> views: array<u32>;

fn load_quad(view: u32, y: u32, row_quad: u32) -> vec4<u32> {
  var pixels = vec4<u32>();
  let first = (view * HEIGHT + y) * WIDTH + 4u * row_quad;
  for (var i = 0u; i < min(4u, WIDTH - 4u * row_quad); i++) {
    pixels[i] = views[first + i];
  }
  return pixels;
}

fn store_quad(view: u32, y: u32, row_quad: u32, pixels: vec4<u32>) {
  let first = (view * HEIGHT + y) * WIDTH + 4u * row_quad;
  for (var i = 0u; i < min(4u, WIDTH - 4u * row_quad); i++) {
    views[first + i] = pixels[i];
  }
}

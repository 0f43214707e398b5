struct Params { images: u32, pixels: u32, quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;

fn invocation(i: u32) {
  let per_image = p.pixels * p.quads;
  let image = i / per_image;
  if (image >= p.images) { return; }
  let factor = scale[image * p.quads + i % p.quads];
  dx[i] = dy[i] * activation_slope(x[i] * factor) * factor;
}

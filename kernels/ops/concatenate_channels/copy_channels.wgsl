struct Params {
  rows: u32,
  vec4s: u32, // that are copied of every row
  x_quads: u32, x_first: u32,
  y_quads: u32, y_first: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.rows * p.vec4s) { return; }
  let row = i / p.vec4s;
  let vec4 = i % p.vec4s;
  y[row * p.y_quads + p.y_first + vec4] = x[row * p.x_quads + p.x_first + vec4];
}

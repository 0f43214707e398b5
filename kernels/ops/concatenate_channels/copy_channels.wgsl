struct Params {
  rows: u32,
  vec4s: u32, // that are copied of every row
  x_vec4s: u32, x_first: u32,
  y_vec4s: u32, y_first: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.rows * p.vec4s) { return; }
  let row = i / p.vec4s;
  let vec4_index = i % p.vec4s;
  y[row * p.y_vec4s + p.y_first + vec4_index] = x[row * p.x_vec4s + p.x_first + vec4_index];
}

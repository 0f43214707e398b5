struct Params {
  rows: u32,
  quads: u32, // that are copied of every row
  x_quads: u32, x_first: u32,
  y_quads: u32, y_first: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.rows * p.quads) { return; }
  let row = i / p.quads;
  let quad = i % p.quads;
  y[row * p.y_quads + p.y_first + quad] = x[row * p.x_quads + p.x_first + quad];
}

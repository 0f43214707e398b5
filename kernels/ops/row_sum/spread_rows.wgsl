struct Params { rows: u32, vec4s: u32, columns: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // the first lane counts
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.rows * p.vec4s) { return; }
  let row = i / p.vec4s;
  y[i] = select(vec4<f32>(), vec4<f32>(x[row].x), is_channel(i - row * p.vec4s, p.columns));
}

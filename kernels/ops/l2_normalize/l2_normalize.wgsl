struct Params { rows: u32, vec4s: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.rows) { return; }
  var squares = vec4<f32>();
  for (var q = 0u; q < p.vec4s; q++) {
    let v = x[i * p.vec4s + q];
    squares += v * v;
  }
  let length = vec4<f32>(sqrt(dot(squares, vec4<f32>(1.0))));
  let norm = with_nan(length, max(length, vec4<f32>(1e-12))).x;
  for (var q = 0u; q < p.vec4s; q++) { y[i * p.vec4s + q] = x[i * p.vec4s + q] / norm; }
}

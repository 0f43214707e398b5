struct Params { rows: u32, quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.rows) { return; }
  var squares = vec4<f32>();
  for (var q = 0u; q < p.quads; q++) {
    let v = x[i * p.quads + q];
    squares += v * v;
  }
  let length = vec4<f32>(sqrt(dot(squares, vec4<f32>(1.0))));
  let norm = with_nan(length, max(length, vec4<f32>(1e-12))).x;
  for (var q = 0u; q < p.quads; q++) { y[i * p.quads + q] = x[i * p.quads + q] / norm; }
}

struct Params { rows: u32, vec4s: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; // the first lane holds the result

fn invocation(i: u32) {
  if (i >= p.rows) { return; }
  var sum = vec4<f32>();
  for (var q = 0u; q < p.vec4s; q++) { sum += a[i * p.vec4s + q] * b[i * p.vec4s + q]; }
  y[i] = vec4<f32>(dot(sum, vec4<f32>(1.0)), 0.0, 0.0, 0.0);
}

struct Params { vec4s: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.vec4s) { return; }
  let value = x[i];
  y[i] = select(vec4<f32>(), value, are_finite(value));
}

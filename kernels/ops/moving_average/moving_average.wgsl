struct Params { vec4s: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> average: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> momentum: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.vec4s) { return; }
  average[i] = momentum[0].x * average[i] + (1.0 - momentum[0].x) * values[i];
}

struct Params { quads: u32, momentum: f32, unbias: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> running_mean: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> running_variance: array<vec4<f32>>;

fn invocation(quad: u32) {
  if (quad >= p.quads) { return; }
  let keep = 1.0 - p.momentum;
  running_mean[quad] = keep * running_mean[quad] + p.momentum * statistics[quad];
  running_variance[quad] = keep * running_variance[quad] + p.momentum * p.unbias * statistics[p.quads + quad];
}

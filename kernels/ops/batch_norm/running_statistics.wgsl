struct Params { quads: u32, momentum: f32, unbias: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> running_mean: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> running_variance: array<vec4<f32>>;

fn invocation(quad: u32) {
  if (quad >= p.quads) { return; }
  let keep = 1.0 - p.momentum;
  let mean = running_mean[quad];
  let variance = running_variance[quad];
  let batch_mean = statistics[quad];
  let batch_variance = statistics[p.quads + quad];
  // A batch that overflowed tells nothing, and would never be forgotten.
  let is_finite = are_finite(batch_mean) & are_finite(batch_variance);
  running_mean[quad] = select(mean, keep * mean + p.momentum * batch_mean, is_finite);
  running_variance[quad] = select(variance, keep * variance + p.momentum * p.unbias * batch_variance, is_finite);
}

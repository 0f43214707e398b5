@group(0) @binding(3) var<storage, read_write> running_mean: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> running_variance: array<vec4<f32>>;

// The running statistics of a vec4 of channels keep p.keep of themselves, and take p.momentum of a group's.
fn move_running(vec4_index: u32, mean: vec4<f32>, variance: vec4<f32>) {
  let mean_before = running_mean[vec4_index];
  let variance_before = running_variance[vec4_index];
  // A batch that overflowed tells nothing, and would never be forgotten.
  let is_finite = are_finite(mean) & are_finite(variance);
  running_mean[vec4_index] = select(mean_before, p.keep * mean_before + p.momentum * mean, is_finite);
  running_variance[vec4_index] =
    select(variance_before, p.keep * variance_before + p.momentum * p.unbias * variance, is_finite);
}

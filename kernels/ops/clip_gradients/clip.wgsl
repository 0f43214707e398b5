struct Params { found: u32, max_norm: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> found: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> control: array<vec4<f32>>;

/// One workgroup.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = vec4<f32>();
  for (var i = lane; i < p.found; i += LANES) { sum += found[i]; }
  let norm = sqrt(sum_over_lanes(lane, sum));
  if (lane > 0u) { return; }
  let factor = min(1.0, p.max_norm / (norm + 1e-6));
  control[1] = vec4<f32>(control[1].x, control[1].y * factor, norm, 0.0);
}

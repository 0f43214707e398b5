struct Params { vec4s: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> divisor: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> sums: array<vec4<f32>>; // one a workgroup: its sum in x

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let factor = 1.0 / divisor[0].x; // first, so that a scaled gradient's square does not overflow
  var sum = vec4<f32>();
  for (var i = group.x * LANES + lane; i < p.vec4s; i += groups.x * LANES) {
    let value = values[i] * factor;
    sum += value * value;
  }
  let total = sum_over_lanes(lane, sum);
  if (lane == 0u) { sums[group.x] = vec4<f32>(total, 0.0, 0.0, 0.0); }
}

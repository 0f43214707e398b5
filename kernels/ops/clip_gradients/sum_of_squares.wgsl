struct Params { vec4s: u32, groups: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> control: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> found: array<vec4<f32>>; // one a workgroup: its sum in x

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  var sum = vec4<f32>();
  for (var i = group.x * LANES + lane; i < p.vec4s; i += p.groups * LANES) {
    let gradient = gradients[i] * control[1].y; // first, so that a scaled gradient's square does not overflow
    sum += gradient * gradient;
  }
  let total = sum_over_lanes(lane, sum);
  if (lane == 0u) { found[group.x] = vec4<f32>(total, 0.0, 0.0, 0.0); }
}

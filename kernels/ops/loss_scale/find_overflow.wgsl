struct Params { vec4s: u32, groups: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> found: array<vec4<f32>>; // one a workgroup: 1 in x where one overflowed

const LANES = 64u;
var<workgroup> overflows: array<u32, LANES>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  var is_finite = vec4<bool>(true);
  for (var i = group.x * LANES + lane; i < p.vec4s; i += p.groups * LANES) {
    is_finite &= are_finite(gradients[i]);
  }
  overflows[lane] = u32(!all(is_finite));
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lane < width) { overflows[lane] |= overflows[lane + width]; }
  }
  if (lane == 0u) { found[group.x] = vec4<f32>(f32(overflows[0]), 0.0, 0.0, 0.0); }
}

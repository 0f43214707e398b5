struct Params { found: u32, growth: f32, backoff: f32, growth_interval: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> found: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> loss_scale: array<vec4<f32>>;

const LANES = 64u;
/// The scale stays this large, so that gradients can be divided by it.
const LEAST_SCALE = 0x1p-120;
/// The scale stays this small, so that it is a number, and so is one divided by it.
const MOST_SCALE = 0x1p126;
var<workgroup> overflows: array<f32, LANES>;

/// One workgroup.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  var overflow = 0.0;
  for (var i = lane; i < p.found; i += LANES) { overflow = max(overflow, found[i].x); }
  overflows[lane] = overflow;
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lane < width) { overflows[lane] = max(overflows[lane], overflows[lane + width]); }
  }
  if (lane > 0u) { return; }
  let state = loss_scale[0]; // scale, good steps since it changed, steps skipped, steps applied
  let is_good = overflows[0] == 0.0;
  let grows = is_good && state.y + 1.0 >= p.growth_interval;
  let factor = select(select(1.0, p.growth, grows), p.backoff, !is_good);
  loss_scale[0] = vec4<f32>(
    clamp(state.x * factor, LEAST_SCALE, MOST_SCALE),
    select(0.0, state.y + 1.0, is_good && !grows),
    state.z + select(1.0, 0.0, is_good),
    state.w + select(0.0, 1.0, is_good),
  );
  loss_scale[1] = vec4<f32>(select(0.0, 1.0, is_good), 1.0 / state.x, 0.0, 0.0);
}

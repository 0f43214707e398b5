struct Params { found: u32, growth: f32, backoff: f32, growth_interval: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> found: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> loss_scale: array<vec4<f32>>;

@compute @workgroup_size(1)
fn main() {
  var overflow = 0.0;
  for (var i = 0u; i < p.found; i++) { overflow = max(overflow, found[i].x); }
  let state = loss_scale[0]; // scale, good steps since it changed, steps skipped
  let is_good = overflow == 0.0;
  let grows = is_good && state.y + 1.0 >= p.growth_interval;
  let factor = select(select(1.0, p.growth, grows), p.backoff, !is_good);
  loss_scale[0] = vec4<f32>(
    state.x * factor,
    select(0.0, state.y + 1.0, is_good && !grows),
    state.z + select(1.0, 0.0, is_good),
    0.0,
  );
  loss_scale[1] = vec4<f32>(select(0.0, 1.0, is_good), 1.0 / state.x, 0.0, 0.0);
}

struct Params {
  rows: u32, vec4s: u32, columns: u32, inverse_temperature: f32,
  inverse_target_temperature: f32, scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> z: array<vec4<f32>>; // becomes their gradient
@group(0) @binding(2) var<storage, read> own: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> target_own: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> row_state: array<vec4<f32>>; // [n, 8]
@group(0) @binding(5) var<storage, read_write> down: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.rows * p.vec4s) { return; }
  let row = i / p.vec4s;
  let q = i - row * p.vec4s;
  let state = row_state[row * 2u];
  let valid = vec4<u32>(q * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.columns);
  let trained = exp(z[i] * p.inverse_temperature - state.x) * state.y;
  let wanted = exp(target_similarities(i) * p.inverse_target_temperature - state.z) * state.w;
  z[i] = select(vec4<f32>(), (trained - wanted) * p.scale, valid);
  if (q == 0u) {
    let own_trained = exp(own[row].x * p.inverse_temperature - state.x) * state.y;
    let own_wanted = exp(target_own[row].x * p.inverse_target_temperature - state.z) * state.w;
    down[row] = vec4<f32>((own_trained - own_wanted) * p.scale, 0.0, 0.0, 0.0);
  }
}

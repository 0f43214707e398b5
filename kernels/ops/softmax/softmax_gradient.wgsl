// Softmax: dx = y (dy - sum(y dy)); its logarithm: dx = dy - exp(y) sum(dy).
struct Params { vec4s: u32, columns: u32, rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  if (group.y >= p.rows) { return; } // a folded dispatch may have more
  let first = group.y * p.vec4s;
  var sums = vec4<f32>();
  for (var q = lane; q < p.vec4s; q += LANES) {
    sums += select(y[first + q] * dy[first + q], dy[first + q], IS_LOG);
  }
  let sum = sum_over_lanes(lane, sums);
  for (var q = lane; q < p.vec4s; q += LANES) {
    let value = y[first + q];
    let slope = dy[first + q];
    let gradient = select(value * (slope - sum), slope - exp(value) * sum, IS_LOG);
    dx[first + q] = select(vec4<f32>(), gradient, is_channel(q, p.columns));
  }
}

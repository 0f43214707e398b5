struct Params { vec4s: u32, columns: u32, rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

const LOWEST = vec4<f32>(-3.4e38);

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  if (group.y >= p.rows) { return; } // a folded dispatch may have more
  let first = group.y * p.vec4s;
  var largest = LOWEST;
  for (var q = lane; q < p.vec4s; q += LANES) {
    largest = max(largest, select(LOWEST, x[first + q], is_channel(q, p.columns)));
  }
  let top = max_over_lanes(lane, largest);
  var exponentials = vec4<f32>();
  for (var q = lane; q < p.vec4s; q += LANES) {
    exponentials += select(vec4<f32>(), exp(x[first + q] - top), is_channel(q, p.columns));
  }
  let sum = sum_over_lanes(lane, exponentials);
  for (var q = lane; q < p.vec4s; q += LANES) {
    let shifted = x[first + q] - top;
    let value = select(exp(shifted) / sum, shifted - log(sum), IS_LOG);
    y[first + q] = select(vec4<f32>(), value, is_channel(q, p.columns));
  }
}

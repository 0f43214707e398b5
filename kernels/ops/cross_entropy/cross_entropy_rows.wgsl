struct Params { vec4s: u32, columns: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> z: array<vec4<f32>>; // [n, c]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [n]
@group(0) @binding(3) var<storage, read_write> row_state: array<vec4<f32>>; // [n, 4]

const LANES = 64u;
const LOWEST = -3.4e38;
var<workgroup> partial: array<vec2<f32>, 64>; // sum of exponentials, rank

fn sum_of(v: vec4<f32>) -> f32 {
  return dot(v, vec4<f32>(1.0));
}

/// One workgroup a row.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = group.x;
  let first = row * p.vec4s;
  let label = labels[row];
  let own = z[first + label / 4u][label % 4u];

  var largest = vec4<f32>(LOWEST);
  for (var q = lane; q < p.vec4s; q += LANES) {
    largest = max(largest, select(vec4<f32>(LOWEST), z[first + q], is_channel(q, p.columns)));
  }
  partial[lane] = vec2<f32>(max(max(largest.x, largest.y), max(largest.z, largest.w)), 0.0);
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lane < width) { partial[lane] = max(partial[lane], partial[lane + width]); }
  }
  workgroupBarrier();
  let top = partial[0].x;
  workgroupBarrier();

  var sum = vec4<f32>();
  var rank = vec4<f32>();
  for (var q = lane; q < p.vec4s; q += LANES) {
    let valid = is_channel(q, p.columns);
    let logits = z[first + q];
    let column = vec4<u32>(0u, 1u, 2u, 3u) + 4u * q;
    sum += select(vec4<f32>(), exp(logits - top), valid);
    let before = (logits > vec4<f32>(own)) | ((logits == vec4<f32>(own)) & (column < vec4<u32>(label)));
    rank += select(vec4<f32>(), vec4<f32>(1.0), valid & before);
  }
  partial[lane] = vec2<f32>(sum_of(sum), sum_of(rank));
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lane < width) { partial[lane] += partial[lane + width]; }
  }
  workgroupBarrier();
  if (lane == 0u) {
    let total = partial[0].x;
    row_state[row] = vec4<f32>(top, 1.0 / total, log(total) - (own - top), partial[0].y);
  }
}

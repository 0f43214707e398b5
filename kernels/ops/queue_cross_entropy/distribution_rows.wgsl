struct Params {
  vec4s: u32, columns: u32, per_part: u32, inverse_temperature: f32,
  inverse_target_temperature: f32, first_part: u32, parts: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> z: array<vec4<f32>>; // [n, k]
@group(0) @binding(2) var<storage, read_write> parts: array<vec4<f32>>; // [n, parts, 8]

const LANES = 64u;
var<workgroup> shared_values: array<vec3<f32>, 64>;

/// Columns of vec4 `q` that count.
fn counts(q: u32) -> vec4<bool> {
  return vec4<u32>(q * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.columns);
}

/// One workgroup a part of a row.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.x;
  let part = group.y;
  let first = row * p.vec4s;
  let begin = part * p.per_part + lane;
  let end = min((part + 1u) * p.per_part, p.vec4s);

  // The largest logit of each distribution.
  var largest = vec4<f32>(LOWEST);
  var target_largest = vec4<f32>(LOWEST);
  for (var q = begin; q < end; q += LANES) {
    let valid = counts(q);
    largest = max(largest, select(vec4<f32>(LOWEST), z[first + q], valid));
    target_largest = max(target_largest, select(vec4<f32>(LOWEST), target_similarities(first + q), valid));
  }
  shared_values[lane] = vec3<f32>(
    max(max(largest.x, largest.y), max(largest.z, largest.w)),
    max(max(target_largest.x, target_largest.y), max(target_largest.z, target_largest.w)),
    0.0,
  );
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lane < width) { shared_values[lane] = max(shared_values[lane], shared_values[lane + width]); }
  }
  workgroupBarrier();
  let top = shared_values[0].x * p.inverse_temperature;
  let target_top = shared_values[0].y * p.inverse_target_temperature;
  workgroupBarrier();

  // Sums of exponentials, and the target's expectation of the logits relative to `top`.
  var sum = vec4<f32>();
  var target_sum = vec4<f32>();
  var expectation = vec4<f32>();
  for (var q = begin; q < end; q += LANES) {
    let valid = counts(q);
    let logit = z[first + q] * p.inverse_temperature - top;
    let weight = select(vec4<f32>(), exp(target_similarities(first + q) * p.inverse_target_temperature - target_top), valid);
    sum += select(vec4<f32>(), exp(logit), valid);
    target_sum += weight;
    expectation += select(vec4<f32>(), weight * logit, valid);
  }
  let ones = vec4<f32>(1.0);
  shared_values[lane] = vec3<f32>(dot(sum, ones), dot(target_sum, ones), dot(expectation, ones));
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lane < width) { shared_values[lane] += shared_values[lane + width]; }
  }
  if (lane == 0u) {
    let sums = shared_values[0];
    let at = 2u * (row * p.parts + p.first_part + part);
    parts[at] = vec4<f32>(top, sums.x, target_top, sums.y);
    parts[at + 1u] = vec4<f32>(sums.z, 0.0, 0.0, 0.0);
  }
}

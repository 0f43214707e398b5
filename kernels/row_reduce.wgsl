// Reductions of a value over the 64 lanes of a workgroup, always in the same order.
const LANES = 64u;
var<workgroup> lane_values: array<f32, 64>;

fn sum_over_lanes(lane: u32, value: vec4<f32>) -> f32 {
  lane_values[lane] = dot(value, vec4<f32>(1.0));
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lane < width) { lane_values[lane] += lane_values[lane + width]; }
  }
  workgroupBarrier();
  let sum = lane_values[0];
  workgroupBarrier();
  return sum;
}

fn max_over_lanes(lane: u32, value: vec4<f32>) -> f32 {
  lane_values[lane] = max(max(value.x, value.y), max(value.z, value.w));
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lane < width) { lane_values[lane] = max(lane_values[lane], lane_values[lane + width]); }
  }
  workgroupBarrier();
  let largest = lane_values[0];
  workgroupBarrier();
  return largest;
}

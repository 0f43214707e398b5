struct Params { rows: u32, factor: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> sums: array<vec4<f32>>; // [rows, 1]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // [1]

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = vec4<f32>();
  for (var row = lane; row < p.rows; row += LANES) { sum += sums[row]; }
  let total = sum_over_lanes(lane, sum);
  if (lane == 0u) { y[0] = vec4<f32>(total * p.factor, 0.0, 0.0, 0.0); }
}

struct Params { rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> row_state: array<vec4<f32>>; // [n, 8]
@group(0) @binding(2) var<storage, read_write> loss: array<vec4<f32>>;

var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var row = lane; row < p.rows; row += 64u) { sum += row_state[row * 2u + 1u].x; }
  sums[lane] = sum;
  for (var width = 32u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lane < width) { sums[lane] += sums[lane + width]; }
  }
  if (lane == 0u) { loss[0] = vec4<f32>(sums[0] / f32(p.rows), 0.0, 0.0, 0.0); }
}

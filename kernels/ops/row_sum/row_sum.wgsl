struct Params { vec4s: u32, rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // the first lane holds the result

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  if (group.y >= p.rows) { return; } // a folded dispatch may have more
  var sums = vec4<f32>();
  for (var q = lane; q < p.vec4s; q += LANES) { sums += x[group.y * p.vec4s + q]; }
  let sum = sum_over_lanes(lane, sums);
  if (lane == 0u) { y[group.y] = vec4<f32>(sum, 0.0, 0.0, 0.0); }
}

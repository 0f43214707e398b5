@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;

fn over_row(lane: RowLane) {
  let row = lane.row * p.vec4s;
  let s = statistics[min(lane.row, p.rows - 1u)];
  // Pad lanes of dy and of the weight are zero.
  var alone = vec4<f32>();
  var with_xhat = vec4<f32>();
  for (var q = lane.first; q < lane.end; q += LANES) {
    let g = dy[row + q] * weight[q];
    alone += g;
    with_xhat += g * (x[row + q] - s.x - s.y);
  }
  let means = sum_over_row(lane, mat2x4<f32>(alone, with_xhat * s.z)) / f32(p.channels);
  for (var q = lane.first; q < lane.end; q += LANES) {
    let xhat = (x[row + q] - s.x - s.y) * s.z;
    let value = (dy[row + q] * weight[q] - means.x - xhat * means.y) * s.z;
    dx[row + q] = select(vec4<f32>(), value/* + addend */, is_channel(q, p.channels));
  }
}

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> statistics: array<vec4<f32>>; // [rows]: mean, shift, 1 / deviation

fn over_row(lane: RowLane) {
  let row = lane.row * p.vec4s;
  let count = f32(p.channels);
  var sum = vec4<f32>();
  for (var q = lane.first; q < lane.end; q += LANES) { sum += x[row + q]; }
  let mean = sum_over_row(lane, mat2x4<f32>(sum, vec4<f32>())).x / count;
  // The mean of what is left is what rounding took from a large mean.
  var shifts = vec4<f32>();
  var squares = vec4<f32>();
  for (var q = lane.first; q < lane.end; q += LANES) {
    let d = select(vec4<f32>(), x[row + q] - mean, is_channel(q, p.channels));
    shifts += d;
    squares += d * d;
  }
  let sums = sum_over_row(lane, mat2x4<f32>(shifts, squares)) / count;
  let variance = vec4<f32>(sums.y - sums.x * sums.x);
  let inverse = 1.0 / sqrt(with_nan(variance, max(variance, vec4<f32>())) + p.epsilon);
  for (var q = lane.first; q < lane.end; q += LANES) {
    let value = (x[row + q] - mean - sums.x) * inverse * weight[q] + bias[q];
    y[row + q] = select(vec4<f32>(), value, is_channel(q, p.channels));
  }
  if (lane.first == 0u && lane.end > 0u) { statistics[lane.row] = vec4<f32>(mean, sums.x, inverse.x, 0.0); }
}

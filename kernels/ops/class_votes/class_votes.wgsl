struct Params { rows: u32, k: u32, k_stride: u32, class_stride: u32, voters: u32, inverse_temperature: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> similarities: array<f32>; // [m, k]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [m, k]
@group(0) @binding(3) var<storage, read_write> scores: array<f32>; // [m, classes]

/// One invocation a row: it costs k + classes steps, and the sums have a fixed order.
fn invocation(row: u32) {
  if (row >= p.rows) { return; }
  for (var c = 0u; c < p.class_stride; c++) { scores[row * p.class_stride + c] = 0.0; }
  var largest = similarities[row * p.k_stride];
  for (var i = 1u; i < p.voters; i++) { largest = max(largest, similarities[row * p.k_stride + i]); }
  for (var i = 0u; i < p.voters; i++) {
    let weight = exp((similarities[row * p.k_stride + i] - largest) * p.inverse_temperature);
    scores[row * p.class_stride + labels[row * p.k + i]] += weight;
  }
}

struct Params { rows: u32, vec4s: u32, per_chunk: u32, chunks: u32, keep: f32, momentum: f32, unbias: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>; // [chunks, 2, c]
@group(0) @binding(2) var<storage, read_write> statistics: array<vec4<f32>>; // [2, c]: mean, biased variance

fn invocation(vec4_index: u32) {
  if (vec4_index >= p.vec4s) { return; }
  var mean = partial[vec4_index];
  var squares = partial[p.vec4s + vec4_index];
  var count = f32(min(p.per_chunk, p.rows));
  for (var chunk = 1u; chunk < p.chunks; chunk++) {
    let more = f32(min((chunk + 1u) * p.per_chunk, p.rows) - chunk * p.per_chunk);
    let delta = partial[chunk * 2u * p.vec4s + vec4_index] - mean;
    let total = count + more;
    mean += delta * (more / total);
    squares += partial[(chunk * 2u + 1u) * p.vec4s + vec4_index] + delta * delta * (count * more / total);
    count = total;
  }
  let variance = squares / count;
  statistics[vec4_index] = mean;
  statistics[p.vec4s + vec4_index] = /* second */ variance;
  move_running(vec4_index, mean, variance);
}

struct Params { rows: u32, vec4s: u32, per_chunk: u32, chunks: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>; // [chunks, 2, c]: mean, squared deviations

fn invocation(i: u32) {
  if (i >= p.chunks * p.vec4s) { return; }
  let chunk = i / p.vec4s;
  let vec4_index = i - chunk * p.vec4s;
  let first = chunk * p.per_chunk;
  let last = min(first + p.per_chunk, p.rows);
  // Deviations from the chunk's first value are small where values are large but close together.
  let pivot = x[first * p.vec4s + vec4_index];
  var sum = vec4<f32>();
  var squares = vec4<f32>();
  for (var row = first; row < last; row++) {
    let d = x[row * p.vec4s + vec4_index] - pivot;
    sum += d;
    squares += d * d;
  }
  let count = f32(last - first);
  partial[chunk * 2u * p.vec4s + vec4_index] = pivot + sum / count;
  let deviations = squares - sum * sum / count;
  partial[(chunk * 2u + 1u) * p.vec4s + vec4_index] = with_nan(deviations, max(deviations, vec4<f32>()));
}

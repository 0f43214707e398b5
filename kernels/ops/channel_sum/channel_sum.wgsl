struct Params { rows: u32, vec4s: u32, per_chunk: u32, chunks: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec4<f32>>; // [chunks, c]

fn invocation(i: u32) {
  if (i >= p.chunks * p.vec4s) { return; }
  let chunk = i / p.vec4s;
  let vec4_index = i - chunk * p.vec4s;
  let last = min((chunk + 1u) * p.per_chunk, p.rows);
  var sum = vec4<f32>();
  for (var row = chunk * p.per_chunk; row < last; row++) { sum += x[row * p.vec4s + vec4_index]; }
  sums[i] = sum;
}

struct Params { rows: u32, vec4s: u32, per_chunk: u32, chunks: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> partial: array<vec4<f32>>; // [chunks, 2, c]: sum dy * xhat, sum dy

fn invocation(i: u32) {
  if (i >= p.chunks * p.vec4s) { return; }
  let chunk = i / p.vec4s;
  let vec4_index = i - chunk * p.vec4s;
  let last = min((chunk + 1u) * p.per_chunk, p.rows);
  var with_xhat = vec4<f32>();
  var alone = vec4<f32>();
  for (var row = chunk * p.per_chunk; row < last; row++) {
    let at = row * p.vec4s + vec4_index;
    let s = statistics[row];
    with_xhat += dy[at] * ((x[at] - s.x - s.y) * s.z);
    alone += dy[at];
  }
  partial[chunk * 2u * p.vec4s + vec4_index] = with_xhat;
  partial[(chunk * 2u + 1u) * p.vec4s + vec4_index] = alone;
}

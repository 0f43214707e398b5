struct Params { rows: u32, vec4s: u32, per_chunk: u32, chunks: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gamma: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dgamma: array<vec4<f32>>; // [chunks, c]

fn invocation(i: u32) {
  if (i >= p.chunks * p.vec4s) { return; }
  let chunk = i / p.vec4s;
  let vec4_index = i - chunk * p.vec4s;
  let factor = gamma[vec4_index];
  let last = min((chunk + 1u) * p.per_chunk, p.rows);
  var sum = vec4<f32>();
  for (var row = chunk * p.per_chunk; row < last; row++) {
    let at = row * p.vec4s + vec4_index;
    let d = dy[at];
    dx[at] = d * factor;
    sum += d * x[at];
  }
  dgamma[i] = sum;
}

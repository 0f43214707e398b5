struct Params { rows: u32, quads: u32, per_chunk: u32, chunks: u32, epsilon: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> partial: array<vec4<f32>>; // [chunks, 2, c]: sum dz * xhat, sum dz

fn invocation(i: u32) {
  if (i >= p.chunks * p.quads) { return; }
  let chunk = i / p.quads;
  let quad = i - chunk * p.quads;
  let mean = statistics[quad];
  let inverse = 1.0 / sqrt(statistics[p.quads + quad] + p.epsilon);
  let last = min((chunk + 1u) * p.per_chunk, p.rows);
  var with_xhat = vec4<f32>();
  var alone = vec4<f32>();
  /* slope's constants */
  for (var row = chunk * p.per_chunk; row < last; row++) {
    let at = row * p.quads + quad;
    let dz = /* dz */;
    alone += dz;
    with_xhat += dz * (x[at] - mean);
  }
  partial[chunk * 2u * p.quads + quad] = with_xhat * inverse;
  partial[(chunk * 2u + 1u) * p.quads + quad] = alone;
}

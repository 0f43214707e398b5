struct Params { vec4s: u32, chunks: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>; // [chunks, 2, c]
@group(0) @binding(2) var<storage, read_write> dgamma: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dbeta: array<vec4<f32>>;

fn invocation(vec4_index: u32) {
  if (vec4_index >= p.vec4s) { return; }
  var with_xhat = vec4<f32>();
  var alone = vec4<f32>();
  for (var chunk = 0u; chunk < p.chunks; chunk++) {
    with_xhat += partial[chunk * 2u * p.vec4s + vec4_index];
    alone += partial[(chunk * 2u + 1u) * p.vec4s + vec4_index];
  }
  dgamma[vec4_index] = with_xhat;
  dbeta[vec4_index] = alone;
}

struct Params { images: u32, pixels: u32, vec4s: u32, per_chunk: u32, chunks: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dscale: array<vec4<f32>>; // [chunks, images, c]

fn invocation(i: u32) {
  let per_chunk = p.images * p.vec4s;
  let chunk = i / per_chunk;
  if (chunk >= p.chunks) { return; }
  let row = i - chunk * per_chunk;
  let image = row / p.vec4s;
  let factor = gate(scale[row]);
  let first = image * p.pixels * p.vec4s + row % p.vec4s;
  var sum = vec4<f32>();
  for (var pixel = chunk * p.per_chunk; pixel < min((chunk + 1u) * p.per_chunk, p.pixels); pixel++) {
    let at = first + pixel * p.vec4s;
    let value = x[at];
    let dz = activation_gradient(dy[at], value * factor);
    dx[at] = dz * factor;
    sum += dz * value;
  }
  dscale[i] = gate_gradient(sum, scale[row]);
}

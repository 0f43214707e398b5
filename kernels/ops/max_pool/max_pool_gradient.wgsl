struct Params {
  batch: u32, height: u32, width: u32, vec4s: u32,
  out_height: u32, out_width: u32, kernel: u32, stride: u32,
  padding: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> winners: array<u32>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;

fn invocation(i: u32) {
  if (i >= p.batch * p.height * p.width * p.vec4s) { return; }
  let vec4_index = i % p.vec4s;
  let x = (i / p.vec4s) % p.width + p.padding;
  let y = (i / (p.vec4s * p.width)) % p.height + p.padding;
  let image = i / (p.vec4s * p.width * p.height);
  // The windows that hold this pixel: o * stride <= position < o * stride + kernel.
  let first_y = select(0u, (y - p.kernel) / p.stride + 1u, y >= p.kernel);
  let first_x = select(0u, (x - p.kernel) / p.stride + 1u, x >= p.kernel);
  let last_y = min(y / p.stride, p.out_height - 1u);
  let last_x = min(x / p.stride, p.out_width - 1u);
  var sum = vec4<f32>();
  for (var oy = first_y; oy <= last_y; oy++) {
    for (var ox = first_x; ox <= last_x; ox++) {
      let tap = (y - oy * p.stride) * p.kernel + (x - ox * p.stride);
      let at = ((image * p.out_height + oy) * p.out_width + ox) * p.vec4s + vec4_index;
      let winner = (vec4<u32>(winners[at]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
      sum += select(vec4<f32>(), dy[at], winner == vec4<u32>(tap));
    }
  }
  dx[i] = sum;
}

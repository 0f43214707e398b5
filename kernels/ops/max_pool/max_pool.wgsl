struct Params {
  batch: u32, height: u32, width: u32, vec4s: u32,
  out_height: u32, out_width: u32, kernel: u32, stride: u32,
  padding: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> winners: array<u32>; // tap of each of the four channels, a byte each

fn invocation(i: u32) {
  if (i >= p.batch * p.out_height * p.out_width * p.vec4s) { return; }
  let vec4_index = i % p.vec4s;
  let ox = (i / p.vec4s) % p.out_width;
  let oy = (i / (p.vec4s * p.out_width)) % p.out_height;
  let image = i / (p.vec4s * p.out_width * p.out_height);
  var best = vec4<f32>();
  var winner = vec4<u32>();
  var is_first = true;
  for (var ky = 0u; ky < p.kernel; ky++) {
    let iy = oy * p.stride + ky - p.padding; // wraps when negative
    if (iy >= p.height) { continue; }
    for (var kx = 0u; kx < p.kernel; kx++) {
      let ix = ox * p.stride + kx - p.padding;
      if (ix >= p.width) { continue; }
      let value = x[((image * p.height + iy) * p.width + ix) * p.vec4s + vec4_index];
      // A NaN wins over any number. Of comparisons with one a compiler may make what it likes.
      let wins = vec4<bool>(is_first) | is_nan(value) | ((value > best) & !is_nan(best));
      is_first = false;
      best = select(best, value, wins);
      winner = select(winner, vec4<u32>(ky * p.kernel + kx), wins);
    }
  }
  y[i] = best;
  winners[i] = winner.x | (winner.y << 8u) | (winner.z << 16u) | (winner.w << 24u);
}

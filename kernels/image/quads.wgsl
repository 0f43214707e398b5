// Four pixels side by side, whose channels are vec4<f32> of integers in 0..255, and one view's share of `luma_sums`. Unless
// a comment says otherwise all intermediate values are integers or halves below 2^23, so float32 is exact, contracted or not.

struct Quad {
  r: vec4<f32>,
  g: vec4<f32>,
  b: vec4<f32>,
}

// Signed integers, which processors convert faster.
fn channel(pixels: vec4<u32>, shift: u32) -> vec4<f32> {
  return vec4<f32>(vec4<i32>((pixels >> vec4<u32>(shift)) & vec4<u32>(255u)));
}

fn unpack_quad(pixels: vec4<u32>) -> Quad {
  return Quad(channel(pixels, 0u), channel(pixels, 8u), channel(pixels, 16u));
}

fn pack_quad(quad: Quad) -> vec4<u32> {
  let r = vec4<u32>(vec4<i32>(quad.r));
  let g = vec4<u32>(vec4<i32>(quad.g));
  let b = vec4<u32>(vec4<i32>(quad.b));
  return r | (g << vec4<u32>(8u)) | (b << vec4<u32>(16u)) | vec4<u32>(0xff000000u);
}

// Pillow's "L": ITU-R 601-2 luma in 16-bit fixed point (Convert.c, L24).
fn luma(quad: Quad) -> vec4<f32> {
  return floor((quad.r * 19595.0 + quad.g * 38470.0 + quad.b * 7471.0 + 32768.0) * (1.0 / 65536.0));
}

// Adds the luma of a quad of a row to its view's sum.
fn add_luma(view: u32, row_quad: u32, quad: Quad) {
  let is_in_row = vec4<u32>(0u, 1u, 2u, 3u) + 4u * row_quad < vec4<u32>(WIDTH);
  atomicAdd(&luma_sums[view], u32(dot(select(vec4<f32>(), luma(quad), is_in_row), vec4<f32>(1.0))));
}

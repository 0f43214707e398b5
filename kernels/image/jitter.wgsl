// The pixel functions of the colour jitter. Pixels are vec3<f32> that hold integers in 0..255; unless a comment says
// otherwise all intermediate values are integers or halves below 2^23, so float32 is exact, contracted or not.

// Pillow's "L": ITU-R 601-2 luma in 16-bit fixed point (Convert.c, L24).
fn luma(rgb: vec3<f32>) -> f32 {
  return floor((rgb.x * 19595.0 + rgb.y * 38470.0 + rgb.z * 7471.0 + 32768.0) / 65536.0);
}

// Image.blend(degenerate, rgb, factor): Blend.c rounds the product to float32, then the sum, then truncates. Here only
// are numbers inexact. The detour through integers keeps compilers from joining the two into one rounding (an fma).
fn blend(degenerate: vec3<f32>, rgb: vec3<f32>, factor: f32, zero: u32) -> vec3<f32> {
  let product = factor * (rgb - degenerate);
  let rounded = bitcast<vec3<f32>>(bitcast<vec3<u32>>(product) ^ vec3<u32>(zero));
  return clamp(trunc(degenerate + rounded), vec3<f32>(0.0), vec3<f32>(255.0));
}

// floor(numerator / denominator) for integers or halves; the quotient of a float32 division can be off by an ulp or
// more, the remainder cannot.
fn floor_divide(numerator: f32, denominator: f32) -> f32 {
  let quotient = floor(numerator / denominator);
  let remainder = numerator - quotient * denominator;
  return quotient + select(0.0, 1.0, remainder >= denominator) - select(0.0, 1.0, remainder < 0.0);
}

// To Pillow's 8-bit HSV, shift the hue, and back (Convert.c rgb2hsv_row, hsv2rgb; torchvision's adjust_hue). Pillow
// computes in float32 and float64; what comes out is what these exact fractions give, for all 2^24 colours and all
// 2^24 HSV triples, but for hues that are exact multiples of 1/255: hue_rounding says which of those it rounds down.
fn shift_hue(rgb: vec3<f32>, shift: u32) -> vec3<f32> {
  let value = max(rgb.x, max(rgb.y, rgb.z));
  let chroma = value - min(rgb.x, min(rgb.y, rgb.z));
  // Gray has neither hue nor saturation and stays as it is; the divisors only have to be valid.
  let divisor = max(chroma, 1.0);
  // hue * 6 * chroma
  var turn = select(
    select(4.0 * chroma + rgb.x - rgb.y, 2.0 * chroma + rgb.z - rgb.x, rgb.y == value),
    rgb.y - rgb.z,
    rgb.x == value,
  );
  turn += select(0.0, 6.0 * chroma, turn < 0.0);
  // hue * 255 = 85 * turn / (2 * chroma)
  let floored = floor_divide(85.0 * turn, 2.0 * divisor);
  let is_exact = 85.0 * turn == floored * 2.0 * divisor;
  let bits = u32(floored);
  let rounds_down = (hue_rounding[bits >> 7u][(bits >> 5u) & 3u] >> (bits & 31u)) & 1u;
  let hue = (bits - select(0u, rounds_down, is_exact) + shift) & 255u;
  let saturation = floor_divide(255.0 * chroma, max(value, 1.0));

  let sector = hue * 2u / 85u;
  // Position within the sector, in 85ths.
  let position = f32(hue * 2u - sector * 85u);
  let full = value * 21675.0; // 21675 = 255 * 85
  let p = floor_divide(value * (255.0 - saturation) + 127.5, 255.0);
  let q = floor_divide(full - value * saturation * position + 10837.5, 21675.0);
  let t = floor_divide(full - value * saturation * (85.0 - position) + 10837.5, 21675.0);
  var shifted = vec3<f32>(value, t, p); // sectors 0 and 6
  shifted = select(shifted, vec3<f32>(q, value, p), sector == 1u);
  shifted = select(shifted, vec3<f32>(p, value, t), sector == 2u);
  shifted = select(shifted, vec3<f32>(p, q, value), sector == 3u);
  shifted = select(shifted, vec3<f32>(t, p, value), sector == 4u);
  shifted = select(shifted, vec3<f32>(value, p, q), sector == 5u);
  return select(shifted, rgb, chroma == 0.0);
}

fn apply_blend(rgb: vec3<f32>, mean: f32, jitter: Jitter, index: u32) -> vec3<f32> {
  let kind = jitter.degenerates[index];
  let level = select(select(mean, luma(rgb), kind == LUMA), 0.0, kind == BLACK);
  return blend(vec3<f32>(level), rgb, jitter.factors[index], jitter.zero);
}

fn apply_jitter(pixel: vec3<f32>, mean: f32, jitter: Jitter) -> vec3<f32> {
  var rgb = pixel;
  if (jitter.grayscale == GRAY_FIRST) {
    rgb = vec3<f32>(luma(rgb));
  }
  for (var i = 0u; i < jitter.hue_position; i++) {
    rgb = apply_blend(rgb, mean, jitter, i);
  }
  if (jitter.hue_shift != NO_HUE) {
    rgb = shift_hue(rgb, jitter.hue_shift);
  }
  for (var i = jitter.hue_position; i < jitter.blends; i++) {
    rgb = apply_blend(rgb, mean, jitter, i);
  }
  if (jitter.grayscale == GRAY_LAST) {
    rgb = vec3<f32>(luma(rgb));
  }
  return rgb;
}

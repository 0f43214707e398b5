// The hue shift of the colour jitter.

struct HueRecord {
  // Added to the 8-bit hue modulo 256. (A shift of 0 changes colours too: HSV rounds them.)
  shift: u32,
  view: u32,
  // 1 where a blend with the mean comes next: its luma is summed.
  @size(8) wants_mean: u32,
}

@group(0) @binding(0) var<uniform> records: array<HueRecord, RECORD_BYTES / 16u>;

// floor(numerator / denominator) for integers or halves, from about 1 / denominator: the quotient can be off by one, the
// remainder tells.
fn floor_divide(numerator: vec4<f32>, denominator: vec4<f32>, inverse: vec4<f32>) -> vec4<f32> {
  let quotient = floor(numerator * inverse);
  let remainder = numerator - quotient * denominator;
  return quotient + select(vec4<f32>(), vec4<f32>(1.0), remainder >= denominator) -
    select(vec4<f32>(), vec4<f32>(1.0), remainder < vec4<f32>());
}

fn floor_divide_by(numerator: vec4<f32>, denominator: f32) -> vec4<f32> {
  return floor_divide(numerator, vec4<f32>(denominator), vec4<f32>(1.0 / denominator));
}

// Whether Pillow rounds a hue down that is exact. (A chain of selections costs less than four loads at indices that differ.)
fn rounds_down(hue: vec4<u32>) -> vec4<bool> {
  let place = hue >> vec4<u32>(5u);
  var word = vec4<u32>(hue_rounding[0].x);
  word = select(word, vec4<u32>(hue_rounding[0].y), place == vec4<u32>(1u));
  word = select(word, vec4<u32>(hue_rounding[0].z), place == vec4<u32>(2u));
  word = select(word, vec4<u32>(hue_rounding[0].w), place == vec4<u32>(3u));
  word = select(word, vec4<u32>(hue_rounding[1].x), place == vec4<u32>(4u));
  word = select(word, vec4<u32>(hue_rounding[1].y), place == vec4<u32>(5u));
  word = select(word, vec4<u32>(hue_rounding[1].z), place == vec4<u32>(6u));
  word = select(word, vec4<u32>(hue_rounding[1].w), place == vec4<u32>(7u));
  return ((word >> (hue & vec4<u32>(31u))) & vec4<u32>(1u)) == vec4<u32>(1u);
}

// To Pillow's 8-bit HSV, shift the hue, and back (Convert.c rgb2hsv_row, hsv2rgb; torchvision's adjust_hue). Pillow
// computes in float32 and float64; what comes out is what these exact fractions give, for all 2^24 colours and all
// 2^24 HSV triples, but for hues that are exact multiples of 1/255: rounds_down() says which of those it rounds down.
fn shift_hue(quad: Quad, shift: u32) -> Quad {
  let value = max(quad.r, max(quad.g, quad.b));
  let chroma = value - min(quad.r, min(quad.g, quad.b));
  // Gray has neither hue nor saturation and stays as it is; the divisors only have to be valid.
  let is_gray = chroma == vec4<f32>();
  let divisor = 2.0 * select(chroma, vec4<f32>(1.0), is_gray);
  // hue * 6 * chroma
  var turn = select(
    select(4.0 * chroma + quad.r - quad.g, 2.0 * chroma + quad.b - quad.r, quad.g == value),
    quad.g - quad.b,
    quad.r == value,
  );
  turn += select(vec4<f32>(), 6.0 * chroma, turn < vec4<f32>());
  // hue * 255 = 85 * turn / (2 * chroma)
  let floored = floor_divide(85.0 * turn, divisor, 1.0 / divisor);
  let is_exact = 85.0 * turn == floored * divisor;
  let hue_before = vec4<u32>(vec4<i32>(floored));
  let step = select(vec4<u32>(shift), vec4<u32>(shift) - 1u, is_exact & rounds_down(hue_before));
  let hue = vec4<f32>(vec4<i32>((hue_before + step) & vec4<u32>(255u)));
  let highest = max(value, vec4<f32>(1.0));
  let saturation = floor_divide(255.0 * chroma, highest, 1.0 / highest);

  // 0 to 6 of the six sectors of the wheel, and the position within it, in 85ths.
  let sector = floor((2.0 * hue + 0.5) * (1.0 / 85.0));
  let position = 2.0 * hue - 85.0 * sector;
  let is_odd = sector - 2.0 * floor(0.5 * sector) == vec4<f32>(1.0);
  let full = value * 21675.0; // 21675 = 255 * 85
  let low = floor_divide_by(value * (255.0 - saturation) + 127.5, 255.0);
  let way = select(85.0 - position, position, is_odd);
  let between = floor_divide_by(full - value * saturation * way + 10837.5, 21675.0);

  // Sectors 0 and 6 are the same.
  let red_is_value = (sector == vec4<f32>()) | (sector >= vec4<f32>(5.0));
  let red_is_low = (sector == vec4<f32>(2.0)) | (sector == vec4<f32>(3.0));
  let green_is_value = (sector == vec4<f32>(1.0)) | (sector == vec4<f32>(2.0));
  let green_is_low = (sector == vec4<f32>(4.0)) | (sector == vec4<f32>(5.0));
  let blue_is_value = (sector == vec4<f32>(3.0)) | (sector == vec4<f32>(4.0));
  let blue_is_low = (sector <= vec4<f32>(1.0)) | (sector == vec4<f32>(6.0));
  return Quad(
    select(select(select(between, low, red_is_low), value, red_is_value), quad.r, is_gray),
    select(select(select(between, low, green_is_low), value, green_is_value), quad.g, is_gray),
    select(select(select(between, low, blue_is_low), value, blue_is_value), quad.b, is_gray),
  );
}

fn change(record: u32, quad: Quad) -> Quad {
  return shift_hue(quad, records[record].shift);
}

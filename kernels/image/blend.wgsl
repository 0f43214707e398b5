// One blend of the colour jitter: brightness, saturation, contrast, or grayscale, which is a blend with nothing of the image
// left.

struct BlendRecord {
  factor: f32,
  // What the image is blended with: BLACK, LUMA or MEAN.
  degenerate: u32,
  view: u32,
  // 1 where a blend with the mean comes next: its luma is summed.
  wants_mean: u32,
  // Always 0, which no compiler knows: see blend().
  @size(16) zero: u32,
}

const BLACK = 0u;
const LUMA = 1u;

@group(0) @binding(0) var<uniform> records: array<BlendRecord, RECORD_BYTES / 32u>;

// Image.blend(degenerate, rgb, factor): Blend.c rounds the product to float32, then the sum, then truncates. Here only
// are numbers inexact. The detour through integers keeps compilers from joining the two into one rounding (an fma).
fn blend(degenerate: vec4<f32>, channel: vec4<f32>, factor: f32, zero: u32) -> vec4<f32> {
  let product = factor * (channel - degenerate);
  let rounded = bitcast<vec4<f32>>(bitcast<vec4<u32>>(product) ^ vec4<u32>(zero));
  return clamp(trunc(degenerate + rounded), vec4<f32>(0.0), vec4<f32>(255.0));
}

fn change(record: u32, quad: Quad) -> Quad {
  let factor = records[record].factor;
  let degenerate = records[record].degenerate;
  let zero = records[record].zero;
  // int(mean + 0.5), as ImageEnhance.Contrast rounds it
  let mean = f32((2u * atomicLoad(&luma_sums[records[record].view]) + PIXELS) / (2u * PIXELS));
  let level = select(select(vec4<f32>(mean), luma(quad), degenerate == LUMA), vec4<f32>(), degenerate == BLACK);
  return Quad(
    blend(level, quad.r, factor, zero),
    blend(level, quad.g, factor, zero),
    blend(level, quad.b, factor, zero),
  );
}

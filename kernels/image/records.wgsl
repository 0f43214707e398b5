// What every kernel of the augmenter is bound to. The prelude gives the WIDTH and HEIGHT of a view, WORKGROUP,
// WEIGHT_BITS and the lengths of the record arrays; view_records.ts writes the records.

// Values of Jitter.grayscale, besides 0.
const GRAY_LAST = 1u;
const GRAY_FIRST = 2u;

// Up to three blends with a hue shift somewhere between them; perhaps gray before or after them.
struct Jitter {
  factors: vec3<f32>,
  blends: u32,
  // Each blend's degenerate picture: BLACK, LUMA or MEAN.
  degenerates: vec3<u32>,
  // How many blends come before the hue shift.
  hue_position: u32,
  // Added to the 8-bit hue modulo 256; NO_HUE leaves the colours as they are (0 would not: HSV rounds them).
  hue_shift: u32,
  grayscale: u32,
  // Always 0, which no compiler knows: see blend().
  zero: u32,
}

struct ResizeRecord {
  // Index in `source` of the first pixel of the crop box that is needed.
  source_offset: u32,
  source_width: u32,
  // Needed rows, and where they begin in `rows`.
  row_count: u32,
  row_offset: u32,
  // Where the tables (resize_table.ts) of the two axes begin, and their weights per output pixel.
  column_table: u32,
  column_taps: u32,
  row_table: u32,
  row_taps: u32,
  view: u32,
  // 1 where contrast.wgsl follows and needs the mean luma.
  wants_mean: u32,
  jitter: Jitter,
}

struct ContrastRecord {
  view: u32,
  jitter: Jitter,
}

struct BlurRecord {
  // 24-bit fractions: of the middle pixel, of both its neighbours, of both theirs.
  weights: vec3<u32>,
  view: u32,
}

const BLACK = 0u;
const LUMA = 1u;
const NO_HUE = 256u;
const PIXELS = WIDTH * HEIGHT;

@group(0) @binding(0) var<uniform> resize_records: array<ResizeRecord, RESIZE_RECORDS>;
@group(0) @binding(1) var<uniform> contrast_records: array<ContrastRecord, CONTRAST_RECORDS>;
@group(0) @binding(2) var<uniform> blur_records: array<BlurRecord, BLUR_RECORDS>;
// Bit h is 1 where Pillow's float32 arithmetic gives a hue of exactly h / 255 as h - 1 (hue_rounding.ts).
@group(0) @binding(3) var<uniform> hue_rounding: array<vec4<u32>, 2>;
// RGBA8 pixels, four bytes a word, here and below.
@group(0) @binding(4) var<storage, read> source: array<u32>;
@group(0) @binding(5) var<storage, read> tables: array<i32>;
// Between the passes of the resize: per view [row_count, WIDTH]; of the blur: [blurred views, HEIGHT, WIDTH].
@group(0) @binding(6) var<storage, read_write> rows: array<u32>;
// [views, HEIGHT, WIDTH]
@group(0) @binding(7) var<storage, read_write> views: array<u32>;
// [views], zero before the first kernel
@group(0) @binding(8) var<storage, read_write> luma_sums: array<atomic<u32>>;

fn unpack(pixel: u32) -> vec3<u32> {
  return vec3<u32>(pixel & 255u, (pixel >> 8u) & 255u, (pixel >> 16u) & 255u);
}

fn pack(rgb: vec3<u32>) -> u32 {
  return rgb.x | (rgb.y << 8u) | (rgb.z << 16u) | 0xff000000u;
}

// Rounds a weighted sum (it starts at one half) to 8 bits: Pillow's `clip8`.
fn clip8(sum: vec3<i32>) -> vec3<u32> {
  return vec3<u32>(clamp(sum >> vec3<u32>(WEIGHT_BITS), vec3<i32>(0), vec3<i32>(255)));
}

// What the augmenter's kernels are bound to. The prelude gives the WIDTH and HEIGHT of a view, WORKGROUP, RECORD_BYTES and
// WEIGHT_BITS. Further bindings are for each kernel to declare, as what it takes them for:
//
// 0  uniform: an array of the kernel's own records, from view_records.ts
// 4  `rows`, read_write, words or vec4s of them. Between the passes of the resize: per view [row_count, 4 * ROW_QUADS]; of
//    the blur: [blurred views, HEIGHT, WIDTH]
// 5  `views`, read_write, words or vec4s of them: [views, HEIGHT, WIDTH]
//
// Pixels are RGBA8, four bytes a word.

const PIXELS = WIDTH * HEIGHT;
// A row of a view, four pixels at a time.
const ROW_QUADS = (WIDTH + 3u) / 4u;

// Bit h is 1 where Pillow's float32 arithmetic gives a hue of exactly h / 255 as h - 1 (hue_rounding.ts).
@group(0) @binding(1) var<uniform> hue_rounding: array<vec4<u32>, 2>;
@group(0) @binding(2) var<storage, read> source: array<u32>;
@group(0) @binding(3) var<storage, read> tables: array<i32>;
// [views], zero before the first kernel
@group(0) @binding(6) var<storage, read_write> luma_sums: array<atomic<u32>>;

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

/**
 * Passes over all elements whose invocations take several pixels of a channel each: what is the channel's own is loaded once
 * for all of them, and an invocation's place is found once.
 */
import type { Target } from "./gpu.ts";
import { LINEAR_SIZE, linearWorkgroups } from "./wgsl.ts";

/** Rows of vec4s that one invocation takes: as many as leave enough invocations to keep the device busy. */
export function rowsPerInvocation({ parallelism }: Target, rows: number, vec4s: number): number {
  const most = Math.floor(rows * vec4s / (parallelism * LINEAR_SIZE));
  return Math.min(64, Math.max(8, most));
}

/** How maps [images, pixels, vec4s * 4] are cut into strips of pixels. */
export interface PixelStrips {
  /** The words of a uniform block that begins as {@linkcode PIXEL_STRIPS} says. */
  words: [images: number, pixels: number, vec4s: number, pixelsPerStrip: number];
  /** For an invocation a strip and vec4. */
  workgroups: [number, number, number];
}

/** No strip has pixels of two images. */
export function pixelStrips(target: Target, images: number, pixels: number, vec4s: number): PixelStrips {
  const perStrip = Math.min(pixels, rowsPerInvocation(target, images * pixels, vec4s));
  const strips = images * Math.ceil(pixels / perStrip);
  return {
    words: [images, pixels, vec4s, perStrip],
    workgroups: linearWorkgroups(strips * vec4s, LINEAR_SIZE),
  };
}

/** WGSL: the uniform block, and which elements invocation i has. */
export const PIXEL_STRIPS = `
struct Params { images: u32, pixels: u32, vec4s: u32, pixels_per_strip: u32 }
@group(0) @binding(0) var<uniform> p: Params;

struct Strip {
  channels: u32, // index of the vec4 in [images, vec4s]
  first: u32, // index of its first element in [images, pixels, vec4s]
  end: u32, // where the elements end, each p.vec4s behind the one before
}

fn strip_of(i: u32) -> Strip {
  let strip = i / p.vec4s;
  let vec4_index = i - strip * p.vec4s;
  let per_image = (p.pixels + p.pixels_per_strip - 1u) / p.pixels_per_strip;
  let image = strip / per_image;
  if (image >= p.images) { return Strip(); }
  let first = (strip - image * per_image) * p.pixels_per_strip;
  let end = min(first + p.pixels_per_strip, p.pixels);
  let row = image * p.pixels;
  return Strip(image * p.vec4s + vec4_index, (row + first) * p.vec4s + vec4_index, (row + end) * p.vec4s);
}
`;

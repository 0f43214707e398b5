/**
 * The filter tables of Pillow's `Image.resize`, one per image and axis: which source pixels an output pixel is made
 * of, and with which fixed-point weights. They need float64 to give Pillow's integers, which WGSL has not, so the host
 * makes them; they are small (some thousand integers a view).
 */

/** Filters that torchvision's `InterpolationMode` names the same; both are widened when shrinking (antialiased). */
export type ResizeFilter = "bilinear" | "bicubic";

/** All of them. */
export const RESIZE_FILTERS: readonly ResizeFilter[] = ["bilinear", "bicubic"];

/** What is wrong with a filter, if anything; without types it may be any value, by which tables have no length. */
export function filterProblem(filter: unknown): string | undefined {
  if (RESIZE_FILTERS.some((known) => known === filter)) return undefined;
  const known = RESIZE_FILTERS.map((name) => JSON.stringify(name)).join(" or ");
  return `filter: expected ${known}, found ${Deno.inspect(filter)}`;
}

/** Fraction bits of a weight: Pillow's `PRECISION_BITS` (Resample.c), 32 less 8 for the pixel, less 2 of headroom. */
export const WEIGHT_BITS = 32 - 8 - 2;

/** One axis of a resize: `source` pixels become `resized` pixels, of which `size` from `window` on are wanted. */
export interface ResizeAxis {
  /** Pixels of the crop box along this axis. */
  readonly source: number;
  /** Pixels that the whole crop box becomes. */
  readonly resized: number;
  /** First wanted pixel of those; where it and what follows lie outside, the result is black. */
  readonly window: number;
  /** Number of wanted pixels. */
  readonly size: number;
  /** How the weight of a source pixel falls off with its distance. */
  readonly filter: ResizeFilter;
  /** Whether the wanted pixels come in reverse order (a flip costs nothing here). */
  readonly mirrored: boolean;
}

/** What {@linkcode writeResizeTable} wrote. */
export interface ResizeTableExtent {
  /** Weights reserved per output pixel. */
  readonly taps: number;
  /** First source pixel that any output pixel needs. */
  readonly first: number;
  /** One past the last source pixel that any output pixel needs. */
  readonly end: number;
}

/** Half the width of each filter at scale 1, in pixels. */
const SUPPORT: Record<ResizeFilter, number> = { bilinear: 1, bicubic: 2 };

/** Resample.c `bilinear_filter`. */
function bilinear(x: number): number {
  x = Math.abs(x);
  return x < 1 ? 1 - x : 0;
}

/** Resample.c `bicubic_filter`, with its a = -0.5. The order of operations is Pillow's. */
function bicubic(x: number): number {
  const a = -0.5;
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/** Weights per output pixel: Resample.c `precompute_coeffs`, `ksize`. */
function tapsOf({ source, resized, filter }: ResizeAxis): number {
  return Math.ceil(SUPPORT[filter] * Math.max(source / resized, 1)) * 2 + 1;
}

/** Integers that {@linkcode writeResizeTable} writes for an axis. */
export function resizeTableLength(axis: ResizeAxis): number {
  return axis.size * (2 + tapsOf(axis));
}

/**
 * Writes the table of one axis: first `size` pairs (first source pixel, counted from the extent's `first`; number of
 * weights), then `size` rows of `taps` weights. Follows `precompute_coeffs` and `normalize_coeffs_8bpc` of Pillow's Resample.c operation by operation.
 *
 * @param table where to write, from `base` on; {@linkcode resizeTableLength} integers
 */
export function writeResizeTable(table: Int32Array, base: number, axis: ResizeAxis): ResizeTableExtent {
  const { source, resized, window, size, filter, mirrored } = axis;
  const weigh = filter === "bilinear" ? bilinear : bicubic;
  const scale = source / resized;
  const filterScale = Math.max(scale, 1);
  const support = SUPPORT[filter] * filterScale;
  const inverse = 1 / filterScale;
  const taps = tapsOf(axis);
  const weights = new Float64Array(taps);
  let first = source;
  let end = 0;
  for (let i = 0; i < size; i++) {
    const output = window + (mirrored ? size - 1 - i : i);
    const row = base + 2 * size + i * taps;
    if (output < 0 || output >= resized) {
      table[base + 2 * i] = 0;
      table[base + 2 * i + 1] = 0;
      continue;
    }
    const center = (output + 0.5) * scale;
    const start = Math.max(Math.trunc(center - support + 0.5), 0);
    const count = Math.min(Math.trunc(center + support + 0.5), source) - start;
    let sum = 0;
    for (let k = 0; k < count; k++) {
      weights[k] = weigh((k + start - center + 0.5) * inverse);
      sum += weights[k];
    }
    for (let k = 0; k < count; k++) {
      const weight = (sum === 0 ? weights[k] : weights[k] / sum) * (1 << WEIGHT_BITS);
      table[row + k] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    table[base + 2 * i] = start;
    table[base + 2 * i + 1] = count;
    first = Math.min(first, start);
    end = Math.max(end, start + count);
  }
  first = Math.min(first, end);
  for (let i = 0; i < size; i++) {
    if (table[base + 2 * i + 1] > 0) table[base + 2 * i] -= first;
  }
  return { taps, first, end };
}

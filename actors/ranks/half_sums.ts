/**
 * Sums of float32s over ranks that travel as float16: half of the bytes, as with PyTorch's `fp16_compress_hook` of DDP. All numbers are
 * multiplied by one power of two first, so that the largest sum fits and the smallest numbers lose as little as they can.
 */

/** Bits of float32's infinity; those of NaNs are larger. */
const INFINITE = 0x7f800000;
/** Exponent of numbers that float16 has in any case: below 2^15. */
const LARGEST_EXPONENT = 14;
/** Float32's smallest exponent of full precision, and what its bits are less. */
const SMALLEST_EXPONENT = -126;
const BIAS = 127;

/** Returns the bits of the largest magnitude: they grow with it, and are largest of all for infinity and NaN. */
export function largestBits(values: Float32Array): number {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  let largest = 0;
  for (let i = 0; i < bits.length; i++) {
    const magnitude = bits[i] & 0x7fffffff;
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}

/**
 * Returns the power of two that numbers are multiplied by before they become float16.
 *
 * @param largest of {@linkcode largestBits}, over all ranks
 * @returns NaN where a number is not finite
 */
export function halfScale(largest: number, ranks: number): number {
  if (largest >= INFINITE) return NaN;
  const exponent = Math.max((largest >>> 23) - BIAS, SMALLEST_EXPONENT);
  return 2 ** (LARGEST_EXPONENT - Math.ceil(Math.log2(ranks)) - exponent);
}

/**
 * Returns numbers as float16, in as many equal parts as there are ranks; zeros fill the last ones.
 *
 * @param scale of {@linkcode halfScale}
 */
export function toHalves(values: Float32Array, scale: number, ranks: number): Float16Array<ArrayBuffer> {
  const halves = new Float16Array(Math.ceil(values.length / ranks) * ranks);
  for (let i = 0; i < values.length; i++) halves[i] = values[i] * scale;
  return halves;
}

/** Returns the sums of the parts that all ranks have, one behind the other: exact, but for being float16 again. */
export function addHalves(parts: Float16Array, ranks: number): Float16Array<ArrayBuffer> {
  const length = parts.length / ranks;
  const sums = new Float16Array(length);
  for (let i = 0; i < length; i++) {
    let sum = 0;
    for (let at = i; at < parts.length; at += length) sum += parts[at];
    sums[i] = sum;
  }
  return sums;
}

/** Writes float16s as what they were before {@linkcode toHalves}; more than there is room for are left out. */
export function fromHalves(halves: Float16Array, scale: number, into: Float32Array): void {
  const back = 1 / scale;
  for (let i = 0; i < into.length; i++) into[i] = halves[i] * back;
}

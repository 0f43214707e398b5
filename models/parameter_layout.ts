/** Parameters between PyTorch's layout and the device's (see `kernels/graph.ts` on padding). */
import { padTo4 } from "../kernels/graph.ts";

/** Some rows of a state_dict entry: indices of its first dimension. */
export interface RowRange {
  first: number;
  count: number;
}

/**
 * Rows of `size` values each, out of what a reader gave: the whole entry, or these rows already.
 *
 * @param rows all where it is left out
 * @throws Error where it gave neither: a bug of the reader
 */
export function takeRows(values: Float32Array, size: number, rows: RowRange | undefined): Float32Array {
  if (rows === undefined || values.length === rows.count * size) return values;
  const end = (rows.first + rows.count) * size;
  if (values.length < end) {
    throw new Error(
      `rows ${rows.first} to ${rows.first + rows.count} of ${size} values: got ${values.length}`,
    );
  }
  return values.subarray(rows.first * size, end);
}

/** Shape on the device of a weight [out, in, kh, kw]: [kh, kw, in padded to 4, out]. */
export function convolutionShape([out, input, kh, kw]: readonly number[]): number[] {
  return [kh, kw, padTo4(input), out];
}

/** Weight [out, in, kh, kw] to the device's [kh, kw, in, out], both padded to 4; `scale` [out] multiplies rows. */
export function convolutionToDevice(
  values: Float32Array,
  [out, input, kh, kw]: readonly number[],
  scale?: Float64Array,
): Float32Array<ArrayBuffer> {
  const inputs = padTo4(input);
  const outputs = padTo4(out);
  const device = new Float32Array(kh * kw * inputs * outputs);
  const taps = kh * kw;
  for (let o = 0, at = 0; o < out; o++) {
    const factor = scale === undefined ? 1 : scale[o];
    for (let i = 0; i < input; i++) {
      for (let tap = 0; tap < taps; tap++) device[(tap * inputs + i) * outputs + o] = values[at++] * factor;
    }
  }
  return device;
}

/** The inverse of {@linkcode convolutionToDevice}. */
export function convolutionFromDevice(
  device: Float32Array,
  [out, input, kh, kw]: readonly number[],
): Float32Array<ArrayBuffer> {
  const inputs = padTo4(input);
  const outputs = padTo4(out);
  const taps = kh * kw;
  const values = new Float32Array(out * input * taps);
  for (let o = 0, at = 0; o < out; o++) {
    for (let i = 0; i < input; i++) {
      for (let tap = 0; tap < taps; tap++) values[at++] = device[(tap * inputs + i) * outputs + o];
    }
  }
  return values;
}

/** Shape on the device of a depthwise weight [c, 1, kh, kw]: [kh, kw, c]. */
export function depthwiseShape([channels, , kh, kw]: readonly number[]): number[] {
  return [kh, kw, channels];
}

/** Depthwise weight [c, 1, kh, kw] to the device's [kh, kw, c padded to 4]; `scale` [c] multiplies filters. */
export function depthwiseToDevice(
  values: Float32Array,
  [channels, , kh, kw]: readonly number[],
  scale?: Float64Array,
): Float32Array<ArrayBuffer> {
  const [taps, stride] = [kh * kw, padTo4(channels)];
  const device = new Float32Array(taps * stride);
  for (let c = 0; c < channels; c++) {
    const factor = scale === undefined ? 1 : scale[c];
    for (let tap = 0; tap < taps; tap++) device[tap * stride + c] = values[c * taps + tap] * factor;
  }
  return device;
}

/** The inverse of {@linkcode depthwiseToDevice}. */
export function depthwiseFromDevice(
  device: Float32Array,
  [channels, , kh, kw]: readonly number[],
): Float32Array<ArrayBuffer> {
  const [taps, stride] = [kh * kw, padTo4(channels)];
  const values = new Float32Array(channels * taps);
  for (let c = 0; c < channels; c++) {
    for (let tap = 0; tap < taps; tap++) values[c * taps + tap] = device[tap * stride + c];
  }
  return values;
}

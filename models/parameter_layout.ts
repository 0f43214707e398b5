/** Parameters between PyTorch's layout and the device's (see `kernels/graph.ts` on padding). */
import { padTo4 } from "../kernels/graph.ts";

/** Some rows of a state_dict entry: indices of its first dimension. */
export interface RowRange {
  /** First row, from 0. */
  first: number;
  /** Number of rows. */
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

/** How a kind of convolution keeps its weight, which PyTorch has as [out, in, kh, kw]. */
export interface WeightLayout {
  /** Shape on the device; its last dimension is padded to 4 there. */
  shape(weight: readonly number[]): number[];
  /** From PyTorch's layout; `scale` [out] multiplies rows. */
  toDevice(
    values: Float32Array,
    weight: readonly number[],
    scale?: Float64Array,
  ): Float32Array<ArrayBuffer>;
  /** To PyTorch's layout. */
  fromDevice(device: Float32Array, weight: readonly number[]): Float32Array<ArrayBuffer>;
}

/** Output channels that are copied side by side, as many as a cache line holds: the device has them one after the other. */
const BLOCK = 16;

/** [out, in, kh, kw] <-> [kh, kw, in padded to 4, out]. */
export const CONVOLUTION: WeightLayout = {
  shape: ([out, input, kh, kw]) => [kh, kw, padTo4(input), out],

  toDevice(values, [out, input, kh, kw], scale = new Float64Array(out).fill(1)) {
    const [taps, inputs, outputs] = [kh * kw, padTo4(input), padTo4(out)];
    const device = new Float32Array(taps * inputs * outputs);
    const row = input * taps;
    for (let first = 0; first < out; first += BLOCK) {
      const end = Math.min(first + BLOCK, out);
      for (let i = 0, from = 0; i < input; i++) {
        for (let tap = 0; tap < taps; tap++, from++) {
          const to = (tap * inputs + i) * outputs;
          for (let o = first; o < end; o++) device[to + o] = values[o * row + from] * scale[o];
        }
      }
    }
    return device;
  },

  fromDevice(device, [out, input, kh, kw]) {
    const [taps, inputs, outputs] = [kh * kw, padTo4(input), padTo4(out)];
    const values = new Float32Array(out * input * taps);
    const row = input * taps;
    for (let first = 0; first < out; first += BLOCK) {
      const end = Math.min(first + BLOCK, out);
      for (let i = 0, to = 0; i < input; i++) {
        for (let tap = 0; tap < taps; tap++, to++) {
          const from = (tap * inputs + i) * outputs;
          for (let o = first; o < end; o++) values[o * row + to] = device[from + o];
        }
      }
    }
    return values;
  },
};

/** Of a depthwise convolution: [c, 1, kh, kw] <-> [kh, kw, c]. */
export const DEPTHWISE: WeightLayout = {
  shape: ([channels, , kh, kw]) => [kh, kw, channels],

  toDevice(values, [channels, , kh, kw], scale) {
    const [taps, stride] = [kh * kw, padTo4(channels)];
    const device = new Float32Array(taps * stride);
    for (let c = 0; c < channels; c++) {
      const factor = scale === undefined ? 1 : scale[c];
      for (let tap = 0; tap < taps; tap++) device[tap * stride + c] = values[c * taps + tap] * factor;
    }
    return device;
  },

  fromDevice(device, [channels, , kh, kw]) {
    const [taps, stride] = [kh * kw, padTo4(channels)];
    const values = new Float32Array(channels * taps);
    for (let c = 0; c < channels; c++) {
      for (let tap = 0; tap < taps; tap++) values[c * taps + tap] = device[tap * stride + c];
    }
    return values;
  },
};

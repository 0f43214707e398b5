/** Parameters between PyTorch's layout and the device's (see `kernels/graph.ts` on padding). */
import { padTo4 } from "../kernels/graph.ts";

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

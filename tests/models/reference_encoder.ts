/** Encoders with the reference formula's weights, and its images in the device's layout. */
import { padRows } from "../../kernels/layout.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import type { StateEntry } from "../../models/encoder_builder.ts";
import { FrozenEncoder, type FrozenEncoderOptions } from "../../models/inference.ts";
import { findEncoder, summarize, usualHead } from "../../models/registry.ts";
import { formulaKind, formulaTensor, REFERENCE_SEED } from "../reference.ts";

/** The head of the reference's encoders that have MoCo's: MLP to 128. `usualHead` gives that of any. */
export const REFERENCE_HEAD = { kind: "mlp", dimension: 128 } as const;

/** Reads a state_dict entry as the formula gives it; `prefix` goes in front of the key. */
export function formulaReader(
  state: readonly StateEntry[],
  prefix = "",
  seed = REFERENCE_SEED,
): (key: string) => Float32Array {
  const shapes = new Map(state.map((entry) => [entry.key, entry.shape]));
  return (key) => {
    const shape = shapes.get(key)!;
    return formulaTensor(prefix + key, shape, formulaKind(key, shape), seed);
  };
}

/** The formula's images `name` [n, 3, size, size] as NHWC with padded channels. */
export function formulaImages(
  name: string,
  n: number,
  size: number,
  seed = REFERENCE_SEED,
): Float32Array<ArrayBuffer> {
  const planar = formulaTensor(name, [n, 3, size, size], "image", seed);
  const plane = size * size;
  const interleaved = Float32Array.from(planar, (_, i) => {
    const [image, pixel, channel] = [Math.floor(i / (3 * plane)), Math.floor(i / 3) % plane, i % 3];
    return planar[(image * 3 + channel) * plane + pixel];
  });
  return padRows(interleaved, [n, size, size, 3]);
}

/** A frozen encoder with the formula's weights, fed with normalised float images. */
export async function formulaEncoder(
  gpu: Gpu,
  name: string,
  options: Pick<FrozenEncoderOptions, "batch" | "imageSize" | "output">,
  prefix = "",
): Promise<FrozenEncoder> {
  const encoder = findEncoder(name);
  const frozen = await FrozenEncoder.create(gpu, {
    encoder,
    head: usualHead(encoder),
    input: "normalized",
    ...options,
  });
  await frozen.load(formulaReader(summarize(encoder, usualHead(encoder), 64).state, prefix));
  return frozen;
}

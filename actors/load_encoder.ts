/** How actors that embed come by their encoder. */
import type { Gpu } from "../kernels/gpu.ts";
import { fingerprintWeights } from "../models/checkpoint/fingerprint_weights.ts";
import type { EncoderPart } from "../models/encoder_parts.ts";
import { openEncoderSource } from "../models/encoder_source.ts";
import { FrozenEncoder, type FrozenEncoderOptions } from "../models/inference.ts";
import { IMAGENET_NORMALIZATION } from "../models/images.ts";
import { initialize } from "../models/initialize.ts";
import { findEncoder, summarize, usualHead } from "../models/registry.ts";
import { type EncoderRole, sampleSize } from "../models/encoder.ts";
import type { EvaluatedEncoder } from "./messages.ts";

/** An encoder: from a checkpoint, or with random weights. */
export type EncoderChoice =
  /** From a checkpoint; `arch` is found out where it is left out, `which` is for checkpoints of a distillation, `weights` a prefix. */
  | { path: string; arch?: string; which?: EncoderRole; weights?: string }
  /** With fresh weights: what a trained one is compared with. */
  | { arch: string; seed: number };

/**
 * Returns what the same weights are known by again: of a checkpoint's encoder, or of given values. Fresh ones follow from what is chosen.
 *
 * @param part which weights are read
 */
export async function identifyEncoder(
  choice: EncoderChoice | EvaluatedEncoder,
  part: EncoderPart,
): Promise<string> {
  if ("seed" in choice) return JSON.stringify(choice);
  if ("values" in choice) {
    const shaped = choice.values.map(([key, data]) => ({ key, shape: [data.length], data }));
    return await fingerprintWeights(shaped);
  }
  using source = await openEncoderSource(choice.path, { ...choice, part });
  return await source.fingerprint();
}

/**
 * Opens a checkpoint's encoder, or one with fresh weights, or one whose values are given.
 *
 * @param shared `dimension` is the length that an embedding must have, where that is known
 *
 * @throws {CheckpointError} where the file holds no such encoder, or its weights are not finite
 */
export async function loadFrozenEncoder(
  gpu: Gpu,
  choice: EncoderChoice | EvaluatedEncoder,
  { dimension, ...shared }:
    & Pick<FrozenEncoderOptions, "batch" | "imageSize" | "output" | "map" | "mixedPrecision">
    & { dimension?: number },
): Promise<FrozenEncoder> {
  if ("path" in choice) {
    const part = ["feature", "normalized_feature"].includes(shared.output) ? "backbone" : "encoder";
    using source = await openEncoderSource(choice.path, { ...choice, dimension, part });
    await source.requireFinite(); // before kernels are compiled, which may take a minute
    const { encoder, head, normalization } = source;
    const frozen = await FrozenEncoder.create(gpu, { ...shared, encoder, head, normalization });
    await frozen.load(source.read);
    return frozen;
  }
  const encoder = findEncoder(choice.arch);
  const head = usualHead(encoder);
  const values = "seed" in choice
    ? initialize(summarize(encoder, head, sampleSize(encoder)).state, choice.seed)
    : new Map(choice.values);
  const normalization = "seed" in choice ? IMAGENET_NORMALIZATION : choice.normalization;
  const frozen = await FrozenEncoder.create(gpu, { ...shared, encoder, head, normalization });
  await frozen.load((key) => values.get(key)!);
  return frozen;
}

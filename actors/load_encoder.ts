/** How actors that embed come by their encoder. */
import type { Gpu } from "../kernels/gpu.ts";
import { openEncoderSource } from "../models/encoder_source.ts";
import { FrozenEncoder, type FrozenEncoderOptions } from "../models/inference.ts";
import { initialize } from "../models/initialize.ts";
import { findEncoder, summarize, usualHead } from "../models/registry.ts";
import type { EncoderChoice } from "./feature_encoder.ts";
import type { EvaluatedEncoder } from "./messages.ts";

/**
 * Opens a checkpoint's encoder, or one with fresh weights, or one whose values are given.
 *
 * @throws {CheckpointError} where the file holds no such encoder, or its weights are not finite
 */
export async function loadFrozenEncoder(
  gpu: Gpu,
  choice: EncoderChoice | EvaluatedEncoder,
  shared: Pick<FrozenEncoderOptions, "batch" | "imageSize" | "output">,
): Promise<FrozenEncoder> {
  if ("path" in choice) {
    const part = shared.output === "feature" ? "backbone" : "encoder";
    using source = await openEncoderSource(choice.path, { ...choice, part });
    await source.requireFinite(); // before kernels are compiled, which may take a minute
    const frozen = await FrozenEncoder.create(gpu, { ...shared, encoder: source.encoder, head: source.head });
    await frozen.load(source.read);
    return frozen;
  }
  const encoder = findEncoder(choice.arch);
  const head = usualHead(encoder);
  const values = "seed" in choice
    ? initialize(summarize(encoder, head, 64).state, choice.seed)
    : new Map(choice.values);
  const frozen = await FrozenEncoder.create(gpu, { ...shared, encoder, head });
  await frozen.load((key) => values.get(key)!);
  return frozen;
}

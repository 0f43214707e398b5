/** Embeds views with a frozen encoder from a checkpoint, and passes them on with its features or embeddings. */
import { openGpu } from "../kernels/gpu.ts";
import type { Tuning } from "../kernels/tuning/tuning.ts";
import type { EncoderRole } from "../models/registry.ts";
import { requireFiniteFeatures } from "./labelled_features.ts";
import { loadFrozenEncoder } from "./load_encoder.ts";
import type { Encoder, FeatureTaker } from "./messages.ts";
import { Overlap } from "./overlap.ts";
import { type ActorRef, defineActor } from "./runtime/mod.ts";

/** Which encoder it is. */
export type EncoderChoice =
  /** From a checkpoint; `arch` is found out where it is left out, `which` is for checkpoints of a distillation. */
  | { path: string; arch?: string; which?: EncoderRole }
  /** With fresh weights: what a trained one is compared with. */
  | { arch: string; seed: number };

/** How a feature encoder is started. */
export interface FeatureEncoderConfig {
  /** The encoder. */
  encoder: EncoderChoice;
  /** `feature`: pooled, without the head; `normalized`: the L2-normalised embedding. */
  output: "feature" | "normalized";
  /** Pictures of a batch. */
  batchSize: number;
  /** Side of a view, in pixels. */
  imageSize: number;
  /** What was measured of the adapter. */
  tuning?: Tuning | null;
  /** Who gets the rows. */
  next: ActorRef<FeatureTaker>;
}

export default defineActor<Encoder, FeatureEncoderConfig>(async (config, context) => {
  const { encoder: choice, output, batchSize: batch, imageSize, tuning, next } = config;
  const gpu = await openGpu(context.name, tuning);
  context.onStop(() => gpu.destroy());
  const frozen = await loadFrozenEncoder(gpu, choice, { batch, imageSize, output });
  const overlap = new Overlap(context);

  return {
    handlers: {
      encode: (batch) =>
        overlap.add(
          "embedding",
          frozen.embed(batch.views, new Float32Array(batch.embeddings)).then((features) =>
            requireFiniteFeatures(features, frozen.dimension, batch.pictures)
          ),
          () => next.tell("take", batch),
        ),
    },
    drain: () => overlap.settled(),
  };
});

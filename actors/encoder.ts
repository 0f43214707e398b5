/** Embeds views with a frozen encoder, in eval mode, and passes them on with its features or embeddings. */
import { openGpu } from "../kernels/gpu.ts";
import type { Tuning } from "../kernels/tuning/tuning.ts";
import { DoubleBuffer } from "./double_buffer.ts";
import { requireFiniteFeatures } from "./labelled_features.ts";
import { type EncoderChoice, loadFrozenEncoder } from "./load_encoder.ts";
import type { Encoder, LocalViewOptions, Profiled, Sink, ViewBatch } from "./messages.ts";
import { requireBuffers } from "./require_batch.ts";
import { profileAll } from "./run_profile.ts";
import { type ActorRef, defineActor } from "./runtime/mod.ts";

/** Configuration of an `encoder` actor. */
export interface EncoderConfig {
  /** The encoder. */
  encoder: EncoderChoice;
  /**
   * `feature`: the pooled feature, without the head; `normalized`: the L2-normalised embedding; `normalized_feature`:
   * the L2-normalised feature.
   */
  output: "feature" | "normalized" | "normalized_feature";
  /** Required length of an embedding, if known. */
  dimension?: number;
  /** Images per batch. */
  batchSize: number;
  /** Side of a view, in pixels. */
  imageSize: number;
  /** Whether the feature maps of the views are wanted too, but of small ones. */
  maps?: boolean;
  /** Small views of the same images, if any. */
  local?: LocalViewOptions;
  /** Keep feature maps in float16. */
  mixedPrecision?: boolean;
  /** Kernel tuning of the adapter. */
  tuning?: Tuning | null;
  /** Receives the features or embeddings. */
  next: ActorRef<Sink>;
}

export default defineActor<Encoder & Profiled, EncoderConfig>(async (config, context) => {
  const { encoder: choice, output, dimension, batchSize: batch, imageSize, local, mixedPrecision } = config;
  const gpu = await openGpu(context.name, config.tuning);
  context.onStop(() => gpu.destroy());
  const frozen = await loadFrozenEncoder(gpu, choice, {
    batch,
    imageSize,
    output,
    map: config.maps,
    dimension,
    mixedPrecision,
  });
  const localFrozen = await (local &&
    frozen.share({ batch: batch * local.views, imageSize: local.imageSize, map: false }));

  const embed = async (batch: ViewBatch) => {
    requireBuffers(batch, { maps: config.maps, local: local !== undefined });
    const { views, teacherViews, embeddings, maps, local: localBuffers, images } = batch;
    const [own, ofLocal] = await Promise.all([
      frozen.embed(teacherViews ?? views, new Float32Array(embeddings), maps && new Float32Array(maps)),
      localFrozen?.embed(localBuffers!.views, new Float32Array(localBuffers!.embeddings)),
    ]);
    requireFiniteFeatures(own, frozen.dimension, images);
    if (ofLocal !== undefined) requireFiniteFeatures(ofLocal, frozen.dimension, images, local!.views);
  };
  const buffered = new DoubleBuffer(context);
  return {
    handlers: {
      encode: (batch) =>
        buffered.add("embedding", () => embed(batch), () => config.next.tell("consume", batch)),
      profile: () =>
        profileAll({
          [`${frozen.name} at ${imageSize} px`]: frozen,
          [`${frozen.name} at ${local?.imageSize} px, small views`]: localFrozen,
        }),
    },
    drain: () => buffered.settled(),
  };
});

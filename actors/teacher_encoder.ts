/** Embeds views with the frozen teacher, in eval mode, and passes them on with the embeddings. */
import { openGpu } from "../kernels/gpu.ts";
import type { Tuning } from "../kernels/tuning/tuning.ts";
import { openEncoderSource } from "../models/encoder_source.ts";
import { FrozenEncoder } from "../models/inference.ts";
import type { SmallViewOptions } from "../models/student_step.ts";
import { requireFiniteFeatures } from "./labelled_features.ts";
import type { QueueKeeper, TeacherEncoder, ViewBatch } from "./messages.ts";
import { Overlap } from "./overlap.ts";
import { profileAll } from "./run_profile.ts";
import { type ActorRef, defineActor } from "./runtime/mod.ts";

/** How a teacher is started. */
export interface TeacherEncoderConfig {
  /** Name of the encoder. */
  arch: string;
  /** Its checkpoint. */
  path: string;
  /** Length that its embeddings must have. */
  dimension: number;
  /** Pictures of a batch. */
  batchSize: number;
  /** Side of a view, in pixels. */
  imageSize: number;
  /** Small views of the same pictures. */
  small?: SmallViewOptions;
  /** Keep maps of pixels in float16. */
  mixedPrecision?: boolean;
  /** What was measured of the adapter. */
  tuning?: Tuning | null;
  /** Who gets the embeddings. */
  next: ActorRef<QueueKeeper>;
}

export default defineActor<TeacherEncoder, TeacherEncoderConfig>(async (config, context) => {
  const { arch, path, dimension, batchSize, imageSize, small, mixedPrecision, tuning, next } = config;
  using source = await openEncoderSource(path, { arch, dimension, part: "encoder" });
  const gpu = await openGpu(context.name, tuning);
  context.onStop(() => gpu.destroy());
  const teacher = await FrozenEncoder.create(gpu, {
    encoder: source.encoder,
    head: source.head,
    batch: batchSize,
    imageSize,
    output: "normalized",
    mixedPrecision,
  });
  await teacher.load(source.read);
  const smallTeacher = await (small &&
    teacher.share({ batch: batchSize * small.views, imageSize: small.imageSize }));

  const embed = async ({ views, embeddings, small: smallBuffers, pictures }: ViewBatch) => {
    const [own, ofSmall] = await Promise.all([
      teacher.embed(views, new Float32Array(embeddings)),
      smallTeacher?.embed(smallBuffers!.views, new Float32Array(smallBuffers!.embeddings)),
    ]);
    requireFiniteFeatures(own, dimension, pictures);
    if (ofSmall !== undefined) requireFiniteFeatures(ofSmall, dimension, pictures, small!.views);
  };
  const overlap = new Overlap(context);
  return {
    handlers: {
      encode: (batch) => overlap.add("embedding", embed(batch), () => next.tell("enqueue", batch)),
      profile: () =>
        profileAll({
          [`${arch} at ${imageSize} px`]: teacher,
          [`${arch} at ${small?.imageSize} px, small views`]: smallTeacher,
        }),
    },
    drain: () => overlap.settled(),
  };
});

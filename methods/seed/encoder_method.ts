/**
 * SEED as a method that trains an encoder: the student, against a queue of the teacher's embeddings.
 *
 *     tsv_reader x workers -> augmenter -> teacher_encoder -> queue_keeper -> student_trainer
 */
import { actorUrl } from "../../actors/catalog.ts";
import type encoder from "../../actors/encoder.ts";
import type { Emit, NoticeEvent } from "../../actors/events.ts";
import type { Encoder, Profiled } from "../../actors/messages.ts";
import type { Supervised } from "../../actors/runtime/mod.ts";
import { padTo4 } from "../../kernels/graph.ts";
import { requireImageSize } from "../../models/encoder_input.ts";
import { mapShape } from "../../models/inference.ts";
import { requireSize } from "../../models/encoder.ts";
import { findEncoder } from "../../models/registry.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import type { Term } from "../../models/checkpoint/run_terms.ts";
import { DEFAULT_LOSS, type LossSizes, readsQueue } from "../../models/loss/losses.ts";
import type { EncoderMethod, Line, LineSetup } from "../encoder_training/method.ts";
import { contentTerm, normalizationTerms } from "../terms.ts";
import { augmentationOf, localViewsOf, teacherMapOf, teacherSizeOf } from "./augmentation.ts";
import type { QueueKeeper } from "./messages.ts";
import { type DistillOptions, teacherPart } from "./options.ts";
import type queueKeeper from "./queue_keeper.ts";
import { DISTILLED } from "./student.ts";
import type studentTrainer from "./student_trainer.ts";
import { distillTerms } from "./terms.ts";

/**
 * Fails before anything is started when the teacher's checkpoint is not what the options say, or an encoder does not take the views.
 *
 * @returns the terms that its file gives
 */
async function identifyTeacher(
  { distill, teacherArch, weights, feature, dim, ...options }: DistillOptions,
  emit: Emit<NoticeEvent>,
): Promise<Term[]> {
  using source = await openEncoderSource(distill, {
    arch: teacherArch,
    weights,
    dimension: dim,
    part: teacherPart({ feature }),
  });
  const local = localViewsOf(options);
  if (local !== undefined) {
    requireImageSize(source, local.imageSize, "--small-size");
    requireSize(findEncoder(options.studentArch), local.imageSize, local.imageSize, "--small-size");
  }
  if (options.teacherSize !== undefined) requireImageSize(source, options.teacherSize, "--teacher-size");
  const fingerprint = await source.fingerprint(); // refuses weights that are not finite
  // Encoders that could have been chosen are in another note.
  const beside = source.beside.filter((name) => !source.others?.includes(`${name}.`));
  if (beside.length > 0) {
    emit({ type: "note", text: `unused in the teacher's checkpoint: ${beside.join(", ")}` });
  }
  return [
    contentTerm("teacher", "--distill", fingerprint, "teacher's weights"),
    ...normalizationTerms("teacher_", "--distill", source.normalization),
  ];
}

function spawn(
  { supervisor, options, batch, trainer, queue, done }: LineSetup<DistillOptions>,
): Line {
  const { batchSize, dim, actors, tuning } = options;
  const student = supervisor.spawn<typeof studentTrainer>(
    "student_trainer",
    actorUrl("student_trainer", actors, import.meta.url),
    trainer,
  );
  const keeper: Supervised<QueueKeeper> = supervisor.spawn<typeof queueKeeper>(
    "queue_keeper",
    actorUrl("queue_keeper", actors, import.meta.url),
    () => {
      const { epoch, batch } = done();
      return {
        size: options.queue,
        batchSize,
        pointer: queue().pointer,
        after: { epoch, batch: batch - 1 },
        next: student.ref,
      };
    },
  );
  const teacher: Supervised<Encoder & Profiled> = supervisor.spawn<typeof encoder>(
    "teacher_encoder",
    actorUrl("encoder", actors),
    () => ({
      encoder: { arch: options.teacherArch, path: options.distill, weights: options.weights },
      output: options.feature ? "normalized_feature" : "normalized",
      dimension: dim,
      batchSize: batch,
      imageSize: teacherSizeOf(options),
      maps: teacherMapOf(options) !== undefined,
      local: localViewsOf(options),
      mixedPrecision: options.amp,
      tuning,
      next: keeper.ref,
    }),
  );
  return { trainer: student, entry: () => teacher.ref, profiled: [teacher] };
}

/** Shapes of the feature maps that the loss compares, if it does. Fails where the student or the teacher gives none. */
function mapsOf(options: DistillOptions): LossSizes["maps"] {
  const teacher = teacherMapOf(options);
  return teacher && { teacher, student: mapShape(findEncoder(options.studentArch), options.imageSize) };
}

function mapLengthOf(options: DistillOptions): { mapLength?: number } {
  const map = teacherMapOf(options);
  if (map === undefined) return {};
  const [height, width, channels] = map;
  return { mapLength: height * width * padTo4(channels) };
}

/** Says where the two kinds of views are augmented differently, as in no script of the original. */
function noteSmallViews(options: DistillOptions, emit: Emit<NoticeEvent>): void {
  const augmentation = augmentationOf(options);
  if (options.smallViews === 0 || augmentation === "swav") return;
  const text = `--augmentation ${augmentation} is for the large views; small views have SWAV's augmentation`;
  emit({ type: "note", text });
}

/** How a student is trained. */
export const DISTILLATION: EncoderMethod<DistillOptions> = {
  ...DISTILLED,
  stages: 5, // reader, augmenter, teacher, queue keeper, trainer
  devices: 2, // the teacher's and the trainer's
  views: (options) => ({
    ...mapLengthOf(options),
    augmentation: augmentationOf(options),
    mixup: options.mixup,
    ...teacherSizeOf(options) !== options.imageSize && { teacherSize: options.teacherSize },
    local: localViewsOf(options),
    embeddingLength: options.dim,
  }),
  async identify(options, emit) {
    mapsOf(options);
    noteSmallViews(options, emit);
    return await identifyTeacher(options, emit);
  },
  terms: distillTerms,
  readsQueue(options) {
    const { loss = DEFAULT_LOSS, batchSize: batch, dim: dimension, queue: queueSize } = options;
    return readsQueue(loss, { batch, dimension, queueSize, maps: mapsOf(options) });
  },
  teacher: ({ teacherArch: arch, distill: path, weights }) => ({ arch, path, weights }),
  spawn,
};

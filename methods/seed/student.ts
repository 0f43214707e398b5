/** The student as a run and its trainer both know it. */
import type { TrainedBy } from "../encoder_training/trained_encoder.ts";
import { checkpointFileName, DISTILL_CHECKPOINT } from "./checkpoint.ts";
import type { DistillOptions } from "./options.ts";

/** What a distillation trains, and what of it is in its checkpoints. */
export const DISTILLED: TrainedBy<DistillOptions> = {
  noun: "student",
  besideNoun: "teacher",
  layout: DISTILL_CHECKPOINT,
  flags: {
    arch: "--student-arch",
    head: "--student-mlp",
    dimension: "--dim",
    queue: "--queue",
    init: "--student-init",
  },
  encoder: ({ studentArch: arch, studentMlp, dim: dimension, studentInit: init }) => ({
    arch,
    head: { kind: studentMlp ? "mlp" : "linear", dimension },
    init,
  }),
  queue: ({ queue: size, smallViews }) => ({ size, hasLocal: smallViews > 0 }),
  fileName: checkpointFileName,
};

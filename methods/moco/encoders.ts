/** MoCo's encoders as a run and its trainer both know them. */
import { type CheckpointLayout, numberedCheckpoint } from "../encoder_training/checkpoint.ts";
import type { TrainedBy } from "../encoder_training/trained_encoder.ts";
import type { PretrainOptions } from "./options.ts";

/** What is in MoCo's checkpoints (main_moco.py, moco/builder.py). */
export const MOCO_CHECKPOINT: CheckpointLayout = {
  trained: "module.encoder_q.",
  beside: "module.encoder_k.",
  run: "pretraining run",
};

/** What a pretraining trains, and what of it is in its checkpoints. */
export const PRETRAINED: TrainedBy<PretrainOptions> = {
  noun: "query encoder",
  besideNoun: "key encoder",
  trainsBoth: true,
  layout: MOCO_CHECKPOINT,
  flags: {
    arch: "--arch",
    head: "--mlp",
    dimension: "--moco-dim",
    queue: "--moco-k",
    init: "--pretrained",
  },
  encoder: ({ arch, mlp, mocoDim: dimension, pretrained: init }) => ({
    arch,
    head: { kind: mlp ? "mlp" : "linear", dimension },
    init,
  }),
  queue: ({ mocoK: size }) => ({ size, hasLocal: false }),
  fileName: numberedCheckpoint,
};

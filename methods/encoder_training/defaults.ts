/** Settings of a training that nobody named, and that SEED and MoCo have alike: those of the originals' runs on ImageNet. */
import { DEFAULT_WORKERS } from "../../actors/default_workers.ts";
import { DEFAULT_MAX_PIXELS } from "../../data/decode.ts";
import type { EncoderTrainingOptions } from "./options.ts";
import { STEP_DEFAULTS } from "./step_options.ts";

/** Defaults that are the same for every method. */
export const ENCODER_TRAINING_DEFAULTS = {
  ...STEP_DEFAULTS,
  workers: DEFAULT_WORKERS,
  cache: "auto",
  epochs: 200,
  startEpoch: 0,
  batchSize: 256,
  lr: 0.03,
  cos: true,
  lrPerStep: false,
  schedule: [120, 160],
  weightDecay: 1e-4,
  keep: 0,
  imageSize: 224,
  maxPixels: DEFAULT_MAX_PIXELS,
  fastDecode: false,
  evalResize: "auto",
  syncBn: false,
  compress: "none",
  checkpointActivations: false,
  maxRestarts: 5,
  knnK: 200,
  knnImages: 100_000,
  knnT: 0.07,
  knnEvery: 10,
  insight: true,
} satisfies Partial<EncoderTrainingOptions>;

/** What is not wanted where nobody asks for it. */
export const NOT_ASKED_FOR = { resume: null, saveEvery: null, limitSteps: null, tuning: null } as const;

/** Options for which `null` says something else than that they are left out: no kNN. */
export const NULLABLE: readonly "testData"[] = ["testData"];

/** Options without a default that is the same on every machine, of every method. */
export type WithoutDefault =
  | "data"
  | "testData"
  | "output"
  | "resume"
  | "resumeAnyway"
  | "saveEvery"
  | "limitSteps"
  | "tuning"
  | "actors"
  | "images"
  | "plugins";

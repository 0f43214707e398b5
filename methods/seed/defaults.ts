/** Settings of a distillation that nobody named. */
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../../data/sample.ts";
import {
  ENCODER_TRAINING_DEFAULTS,
  NOT_ASKED_FOR,
  NULLABLE,
  type WithoutDefault,
} from "../encoder_training/defaults.ts";
import { encodersNamed } from "../../models/registry.ts";
import { type SampleOptions, sampleTestData, withKnownOptimizer } from "../encoder_training/sample.ts";
import type { StepOptions } from "../encoder_training/step_options.ts";
import { withoutUnset } from "../without_unset.ts";
import type { DistillOptions } from "./options.ts";

/** Options whose default is the same on every machine. */
export type Defaults = Omit<
  DistillOptions,
  | "teacherArch"
  | "teacherSsl"
  | "distill"
  | "weights"
  | "feature"
  | "studentInit"
  | "augmentation"
  | "teacherSize"
  | "loss"
  | WithoutDefault
>;

/** Defaults for your own images: the paper's settings, and those of the original code where the paper names none. */
export const PAPER_DEFAULTS: Readonly<Defaults> = {
  ...ENCODER_TRAINING_DEFAULTS,
  studentArch: "resnet18",
  scaleLr: true,
  warmupEpochs: 5,
  dim: 128,
  queue: 65_536,
  temp: 0.2,
  distillT: 0.01,
  studentMlp: true,
  smallViews: 0,
  smallSize: 96,
  mixup: 0,
  tokenT: 0.07,
  tokenWeight: 1,
};

/**
 * Defaults with AdamW, for your own images: DeiT's weight decay, its learning rate for a batch of 256 as DINO scales it, and their
 * warm-up from 0.
 */
export const PAPER_ADAMW = {
  lr: 5e-4,
  lrPerStep: true,
  weightDecay: 0.05,
} as const satisfies Partial<Defaults>;

/** Defaults for the bundled images, with which a student visibly learns within minutes on two CPU cores. */
export const SAMPLE_DEFAULTS: Readonly<Defaults> = {
  ...PAPER_DEFAULTS,
  studentArch: "mobilenetv3_small",
  epochs: 6,
  batchSize: 32,
  lr: 0.1,
  scaleLr: false,
  warmupEpochs: 0,
  queue: 1024,
  imageSize: 32,
  smallSize: 16,
  knnK: 20,
  knnEvery: 0,
};

/** Defaults with AdamW for the bundled images. */
export const SAMPLE_ADAMW = { lr: 1e-3, weightDecay: 0.05 } as const satisfies Partial<Defaults>;

/**
 * Returns options that distil the bundled teacher into a small student on the bundled images. With `data` of your own, `testData` is
 * left to the run. A student of a plugin that is not imported yet gets its optimizer, stochastic depth, learning rate and weight
 * decay from the run too, by the same defaults.
 *
 * @param given options that differ; `output` is required
 */
export function sampleOptions(
  given: Partial<DistillOptions> & Pick<DistillOptions, "output">,
): SampleOptions<DistillOptions> {
  const changes = withoutUnset(given, NULLABLE);
  const options: SampleOptions<DistillOptions> & StepOptions = {
    ...SAMPLE_DEFAULTS,
    teacherArch: "resnet18",
    teacherSsl: "moco",
    distill: SAMPLE_TEACHER,
    data: SAMPLE_DATA,
    ...sampleTestData(changes),
    ...NOT_ASKED_FOR,
    studentInit: null,
    ...changes,
  };
  const [encoder] = encodersNamed(options.studentArch);
  return withKnownOptimizer(options, encoder, changes, SAMPLE_ADAMW);
}

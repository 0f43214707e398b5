/** Settings of a distillation that nobody named. */
import { join } from "node:path";
import { SAMPLE_DATA, SAMPLE_TEACHER } from "../../data/sample.ts";
import {
  ENCODER_TRAINING_DEFAULTS,
  NOT_ASKED_FOR,
  type WithoutDefault,
} from "../encoder_training/defaults.ts";
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

/** A recipe: settings, and the teacher that they are for. */
export type Recipe = Partial<Defaults> & Pick<DistillOptions, "teacherArch" | "teacherSsl">;

/** What all of the paper's runs have (section 4.1 and appendix): said in full, so that a recipe does not change. */
const PAPER: Readonly<Partial<Defaults>> = {
  epochs: 200,
  batchSize: 256,
  lr: 0.03,
  scaleLr: true,
  warmupEpochs: 5,
  cos: true,
  momentum: 0.9,
  weightDecay: 1e-4,
  dim: 128,
  queue: 65_536,
  temp: 0.2,
  distillT: 0.01,
  studentMlp: true,
  imageSize: 224,
  smallViews: 0,
};

/** SWAV's teachers teach with six small views of each image (the original's main_small-patch.py). */
const MULTI_VIEW: Readonly<Partial<Defaults>> = { ...PAPER, smallViews: 6, smallSize: 96 };

/** Settings of the paper's experiments, by the name that `--recipe` takes. */
export const RECIPES: Readonly<Record<string, Recipe>> = {
  "paper-moco-r50": { ...PAPER, teacherArch: "resnet50", teacherSsl: "moco" },
  "paper-moco-r101": { ...PAPER, teacherArch: "resnet101", teacherSsl: "moco" },
  "paper-moco-r152": { ...PAPER, teacherArch: "resnet152", teacherSsl: "moco" },
  "paper-simclr-r50": { ...PAPER, teacherArch: "simclr_resnet50", teacherSsl: "simclr" },
  "paper-swav-r50": { ...MULTI_VIEW, teacherArch: "swav_resnet50", teacherSsl: "swav" },
  "paper-swav-r50w2": { ...MULTI_VIEW, teacherArch: "swav_resnet50w2", teacherSsl: "swav" },
};

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

/**
 * Returns options that distil the bundled teacher into a small student on the bundled images.
 *
 * @param changes options that differ; `output` is required
 */
export function sampleOptions(
  changes: Partial<DistillOptions> & Pick<DistillOptions, "output">,
): DistillOptions {
  return {
    ...SAMPLE_DEFAULTS,
    teacherArch: "resnet18",
    teacherSsl: "moco",
    distill: SAMPLE_TEACHER,
    data: SAMPLE_DATA,
    testData: join(SAMPLE_DATA, "test.tsv"),
    ...NOT_ASKED_FOR,
    studentInit: null,
    ...changes,
  };
}

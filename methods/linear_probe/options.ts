/** Everything that a linear evaluation can be told, with the names of the original's flags (main_lincls.py). */
import type { ActorModules } from "../../actors/catalog.ts";
import { DEFAULT_WORKERS } from "../../actors/default_workers.ts";
import { DEFAULT_MAX_PIXELS } from "../../data/decode.ts";
import type { EvaluationResizeChoice } from "../../actors/evaluation_resize.ts";
import type { Tuning } from "../../kernels/tuning/tuning.ts";
import type { EncoderRole } from "../../models/encoder.ts";

export type { EncoderRole };

/** A linear evaluation, fully resolved: no field is left to a default. Paths are absolute. */
export interface LinearOptions {
  /** Checkpoint of the frozen encoder; `null` for fresh weights of `arch`, drawn from `seed`. */
  pretrained: string | null;
  /** Name of the encoder in the registry. */
  arch: string;
  /** Which encoder of a distillation's checkpoint. */
  which: EncoderRole;
  /** What stands before the encoder's keys, where a checkpoint holds several; found out where it is left out. */
  weights?: string;
  /** Images to learn from. */
  data: string;
  /** Images to be classified. */
  testData: string;
  /** Folder that the run writes to. */
  output: string;
  /** Reader Workers. The same seed gives the same bits for any number. */
  workers: number;
  /**
   * Where decoded images are kept, so that epochs after the first do not decode: `auto`, in memory where all of them take a
   * tenth of it at most; `memory`, as many as half of what is free takes; `off`; else the path of a file for the images to
   * learn from.
   */
  cache: string;
  /** Where the run ends, counted from epoch 0. */
  epochs: number;
  /** Epoch to begin with; a checkpoint that is resumed from says its own. */
  startEpoch: number;
  /** Images in a batch; the last one of an epoch may be smaller. */
  batchSize: number;
  /** Learning rates before scaling; a classifier is trained with each, side by side. */
  lr: number[];
  /** Whether the learning rate is multiplied by `batchSize / 256` after the warm-up. */
  scaleLr: boolean;
  /** Epochs of warm-up. */
  warmupEpochs: number;
  /** Epochs from which on the learning rate is ten times lower. */
  schedule: number[];
  /** Momentum of SGD. */
  momentum: number;
  /** L2 penalty that SGD adds to every gradient. */
  weightDecay: number;
  /** Checkpoint of a linear evaluation to go on from; `null` to begin anew. */
  resume: string | null;
  /** Go on from `resume` even where it is of another evaluation, of another encoder, say; off where it is left out. */
  resumeAnyway?: boolean;
  /** Only classify the test images with the classifier of `resume`. */
  evaluate: boolean;
  /** Embed the images once, without augmentation, and train on these features in every epoch. */
  cacheFeatures: boolean;
  /** Height and width of a view, in pixels. */
  imageSize: number;
  /** Pixels that an image may have; a larger one counts as broken. */
  maxPixels: number;
  /** How images become views where no crop is drawn; `auto` is decided by the images to learn from. */
  evalResize: EvaluationResizeChoice;
  /** Classes; `null` for as many as the labels of the images say. */
  classes: number | null;
  /** Actors of one's own in the places of built-in ones. */
  actors?: ActorModules;
  /** Modules, as text of their URLs, that register encoders; every Worker imports them. */
  plugins?: string[];
  /** What was measured of the adapter (`tuneAdapter`); what is usual of its kind where it is left out. */
  tuning?: Tuning | null;
  /** Seed of the classifier's weights, the order of the images and their augmentation. */
  seed: number;
}

/** What has a default that is the same on every machine. */
export type LinearDefaults = Omit<
  LinearOptions,
  | "pretrained"
  | "arch"
  | "which"
  | "weights"
  | "data"
  | "testData"
  | "output"
  | "resume"
  | "resumeAnyway"
  | "evaluate"
  | "classes"
  | "actors"
  | "plugins"
  | "tuning"
>;

/** Defaults for one's own images: the original's, which are MoCo's for ImageNet. */
export const LINEAR_DEFAULTS: Readonly<LinearDefaults> = {
  workers: DEFAULT_WORKERS,
  cache: "auto",
  epochs: 100,
  startEpoch: 0,
  batchSize: 256,
  lr: [30],
  scaleLr: true,
  warmupEpochs: 5,
  schedule: [60, 80],
  momentum: 0.9,
  weightDecay: 0,
  cacheFeatures: false,
  imageSize: 224,
  maxPixels: DEFAULT_MAX_PIXELS,
  evalResize: "auto",
  seed: 0,
};

/** Defaults for the bundled images: less than a minute, and no need to know the right learning rate. */
export const LINEAR_SAMPLE_DEFAULTS: Readonly<LinearDefaults> = {
  ...LINEAR_DEFAULTS,
  epochs: 30,
  schedule: [20, 25],
  lr: [0.01, 0.03, 0.1, 0.3],
  cacheFeatures: true,
  imageSize: 32,
};

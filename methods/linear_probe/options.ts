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
  /** Checkpoint of the frozen encoder; `null` for random weights of `arch`, drawn from `seed`. */
  pretrained: string | null;
  /** Name of the encoder in the registry. */
  arch: string;
  /** Which encoder of a distillation's checkpoint. */
  which: EncoderRole;
  /** Prefix of the encoder's keys, if the checkpoint holds several encoders; detected if omitted. */
  weights?: string;
  /** Training images. */
  data: string;
  /** Test images. */
  testData: string;
  /** Folder that the run writes to. */
  output: string;
  /** Reader Workers. The same seed gives the same bits for any number. */
  workers: number;
  /**
   * Where decoded images are kept, so that epochs after the first do not decode. `auto`: in memory, if all of them take at
   * most a tenth of it. `memory`: as many as fit in half of the free memory. `off`: nowhere. Else the path of a file for
   * the training images.
   */
  cache: string;
  /** Number of epochs, counted from epoch 0. */
  epochs: number;
  /** First epoch; a resumed run takes it from the checkpoint. */
  startEpoch: number;
  /** Images per batch; the last batch of an epoch may be smaller. */
  batchSize: number;
  /** Learning rates before scaling; one classifier is trained with each, in parallel. */
  lr: number[];
  /** Whether the learning rate is multiplied by `batchSize / 256` after the warm-up. */
  scaleLr: boolean;
  /** Epochs of warm-up. */
  warmupEpochs: number;
  /** Epochs at which the learning rate drops to a tenth. */
  schedule: number[];
  /** Momentum of SGD. */
  momentum: number;
  /** L2 penalty that SGD adds to every gradient. */
  weightDecay: number;
  /**
   * Checkpoint of a linear evaluation to resume from; `auto` for the newest one in `output`, if there is any; `null` to
   * start a new one.
   */
  resume: string | null;
  /** Resume even if the checkpoint is from an evaluation with another encoder or other settings. Default: false. */
  resumeAnyway?: boolean;
  /** Only evaluate the classifier of `resume` on the test images. */
  evaluate: boolean;
  /** Embed the images once, without augmentation, and train on these features in every epoch. */
  cacheFeatures: boolean;
  /** Height and width of a view, in pixels. */
  imageSize: number;
  /** Maximum pixels of an image; a larger one counts as broken. */
  maxPixels: number;
  /** How images are resized where no random crop is taken; `auto` decides by the training images. */
  evalResize: EvaluationResizeChoice;
  /** Share of the images of each class that is learnt from, chosen by `seed`, and one image at least; 1 for all images. */
  labelFraction: number;
  /** Number of classes; `null` to take it from the labels. */
  classes: number | null;
  /** Custom actors that replace built-in ones. */
  actors?: ActorModules;
  /** URLs of modules that register encoders; every Worker imports them. */
  plugins?: string[];
  /** Kernel tuning of the adapter, from `tuneAdapter`. Default: the defaults of its kind. */
  tuning?: Tuning | null;
  /** Seed of the classifier's weights, the order of the images and their augmentation. */
  seed: number;
}

/** Options whose default is the same on every machine. */
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

/** Defaults for your own images: those of the original, which are MoCo's for ImageNet. */
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
  labelFraction: 1,
  seed: 0,
};

/** Defaults for the bundled images: a run takes less than a minute, and tries several learning rates. */
export const LINEAR_SAMPLE_DEFAULTS: Readonly<LinearDefaults> = {
  ...LINEAR_DEFAULTS,
  epochs: 30,
  schedule: [20, 25],
  lr: [0.01, 0.03, 0.1, 0.3],
  cacheFeatures: true,
  imageSize: 32,
};

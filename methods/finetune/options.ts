/** Everything that a fine-tuning can be told: SwAV's `eval_semisup.py`, with the names that `lincls` has where it has any. */
import type { GradientCompression } from "../../actors/ranks/ranks.ts";
import {
  LINEAR_DEFAULTS,
  LINEAR_SAMPLE_DEFAULTS,
  type LinearDefaults,
  type LinearOptions,
} from "../linear_probe/options.ts";
import {
  imagesOfStep,
  learningRateOfStep,
  STEP_DEFAULTS,
  type StepOptions,
} from "../encoder_training/step_options.ts";
import { batchScale } from "../../models/optim/schedule.ts";

/** A fine-tuning, fully resolved: no field is left to a default. Paths are absolute. */
export interface FinetuneOptions
  extends Omit<LinearOptions, "batchSize" | "cacheFeatures" | keyof StepOptions>, StepOptions {
  /** Images in a batch; the images of an epoch that do not fill one are left out, others in each epoch. */
  batchSize: number;
  /** Learning rate of the classifier, before scaling. */
  lrLastLayer: number;
  /** Half a cosine down to 0 rather than steps at `schedule`. */
  cos: boolean;
  /**
   * Change both rates with every step, from 0 in the warm-up and along a cosine that begins after it, as DeiT and MAE do. Otherwise with
   * every epoch, as SWAV does.
   */
  lrPerStep: boolean;
  /** What both rates are multiplied by at each epoch of `schedule`; read without `cos` only. */
  gamma: number;
  /** Take batch norm's statistics over the images of all ranks; over a rank's own otherwise. */
  syncBn: boolean;
  /** What gradients become on their way between ranks: `f16` sends half of the bytes. */
  compress: GradientCompression;
}

/** What has a default that is the same on every machine. */
export type FinetuneDefaults = Omit<FinetuneOptions, Exclude<keyof LinearOptions, keyof LinearDefaults>>;

/** Defaults for one's own images: SwAV's for 10 % of ImageNet, whose 8 GPUs have 32 images each. */
export const FINETUNE_DEFAULTS: Readonly<FinetuneDefaults> = {
  ...STEP_DEFAULTS,
  workers: LINEAR_DEFAULTS.workers,
  cache: LINEAR_DEFAULTS.cache,
  epochs: 20,
  startEpoch: 0,
  batchSize: 256,
  lr: 0.01,
  lrLastLayer: 0.2,
  scaleLr: false,
  warmupEpochs: 0,
  cos: false,
  lrPerStep: false,
  schedule: [12, 16],
  gamma: 0.2,
  weightDecay: 0,
  imageSize: LINEAR_DEFAULTS.imageSize,
  maxPixels: LINEAR_DEFAULTS.maxPixels,
  fastDecode: LINEAR_DEFAULTS.fastDecode,
  evalResize: LINEAR_DEFAULTS.evalResize,
  labelFraction: 1,
  syncBn: false,
  compress: "none",
};

/** Defaults for the bundled images: SwAV's rate of the classifier is too high for the features of the bundled teacher. */
export const FINETUNE_SAMPLE_DEFAULTS: Readonly<FinetuneDefaults> = {
  ...FINETUNE_DEFAULTS,
  batchSize: 32,
  lrLastLayer: 0.01,
  imageSize: LINEAR_SAMPLE_DEFAULTS.imageSize,
};

/** Defaults with AdamW for the bundled images: it fine-tunes a transformer with smaller rates than SGD a ResNet. */
export const FINETUNE_SAMPLE_ADAMW = {
  lr: 1e-4,
  lrLastLayer: 1e-3,
  weightDecay: 0.05,
} as const satisfies Partial<FinetuneDefaults>;

/** Defaults with AdamW for one's own images: the warm-up is that of DeiT and MAE, 5 epochs from 0. */
export const FINETUNE_ADAMW = {
  ...FINETUNE_SAMPLE_ADAMW,
  lrPerStep: true,
  warmupEpochs: 5,
} as const satisfies Partial<FinetuneDefaults>;

/** The learning rates of a step. */
export interface LearningRates {
  /** Of the encoder. */
  lr: number;
  /** Of the classifier. */
  lrLastLayer: number;
}

/** What the learning rates are multiplied by after the warm-up: they are scaled by the images of a step. */
export function scaleOf(options: FinetuneOptions, batchesPerEpoch: number): number {
  return options.scaleLr ? batchScale(imagesOfStep(options, batchesPerEpoch)) : 1;
}

/** The learning rates of the step that a batch belongs to, as `learningRateOfStep` has them: both follow one schedule. */
export function learningRatesOf(
  options: FinetuneOptions,
  position: { epoch: number; batch: number },
  batchesPerEpoch: number,
): LearningRates {
  const { warmupEpochs, epochs, cos, schedule: milestones, gamma, lrPerStep: isPerStep } = options;
  const shared = { warmupEpochs, epochs, cos, milestones, gamma, isPerStep };
  const scale = scaleOf(options, batchesPerEpoch);
  const rateOf = (lr: number) =>
    learningRateOfStep(position, batchesPerEpoch, options.accumulate, { lr, scale, ...shared });
  return { lr: rateOf(options.lr), lrLastLayer: rateOf(options.lrLastLayer) };
}

/** The batch before another one; the first of all has none, and is its own. */
export function batchBefore(
  { epoch, batch }: { epoch: number; batch: number },
  batchesPerEpoch: number,
): { epoch: number; batch: number } {
  if (batch > 0) return { epoch, batch: batch - 1 };
  return epoch > 0 ? { epoch: epoch - 1, batch: batchesPerEpoch - 1 } : { epoch, batch };
}

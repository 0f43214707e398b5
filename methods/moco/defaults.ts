/** Settings of a pretraining that nobody named. */
import { SAMPLE_DATA } from "../../data/sample.ts";
import {
  ENCODER_TRAINING_DEFAULTS,
  NOT_ASKED_FOR,
  NULLABLE,
  type WithoutDefault,
} from "../encoder_training/defaults.ts";
import { encodersNamed } from "../../models/registry.ts";
import { type SampleOptions, sampleTestData, withKnownOptimizer } from "../encoder_training/sample.ts";
import type { StepOptions, TrainedAs } from "../encoder_training/step_options.ts";
import { withoutUnset } from "../without_unset.ts";
import type { PretrainOptions } from "./options.ts";

/** Options with the same default on every machine. */
export type PretrainDefaults = Omit<
  PretrainOptions,
  WithoutDefault | "pretrained"
>;

/** Defaults for your own images: MoCo-v2, as the README of MoCo runs it for ImageNet. */
export const PRETRAIN_DEFAULTS: Readonly<PretrainDefaults> = {
  ...ENCODER_TRAINING_DEFAULTS,
  arch: "resnet50",
  scaleLr: false,
  warmupEpochs: 0,
  mocoDim: 128,
  mocoK: 65_536,
  mocoM: 0.999,
  mocoT: 0.2,
  mlp: true,
  augPlus: true,
  bnSplits: 1,
};

/** Defaults for the bundled images: a run takes some minutes on two cores. */
export const PRETRAIN_SAMPLE_DEFAULTS: Readonly<PretrainDefaults> = {
  ...PRETRAIN_DEFAULTS,
  arch: "mobilenetv3_small",
  epochs: 4,
  batchSize: 64,
  mocoK: 1024,
  mocoM: 0.99,
  imageSize: 32,
  knnEvery: 2,
};

/** Defaults with AdamW for your own images: MoCo-v3's for ViT-S (its CONFIG.md), with the warm-up of its main_moco.py. */
export const PRETRAIN_ADAMW = {
  lr: 1.5e-4,
  lrPerStep: true,
  scaleLr: true,
  warmupEpochs: 10,
  weightDecay: 0.1,
} as const satisfies Partial<PretrainDefaults>;

/** Defaults with AdamW for the bundled images. */
export const PRETRAIN_SAMPLE_ADAMW = {
  lr: 3e-4,
  scaleLr: false,
  weightDecay: 0.1,
} as const satisfies Partial<PretrainDefaults>;

/** The encoder as a pretraining takes its defaults of it: without stochastic depth, as in MoCo-v3. */
export function withoutDropPath(encoder: TrainedAs): TrainedAs {
  return encoder.dropPath === undefined ? encoder : { ...encoder, dropPath: 0 };
}

/**
 * Returns options that pretrain a small encoder on the bundled images. With `data` of your own, `testData` is left to the run. An
 * encoder of a plugin that is not imported yet gets its optimizer, learning rate and weight decay from the run too, by the same
 * defaults.
 *
 * @param given options that differ; `output` is required
 */
export function samplePretrainOptions(
  given: Partial<PretrainOptions> & Pick<PretrainOptions, "output">,
): SampleOptions<PretrainOptions> {
  const changes = withoutUnset(given, NULLABLE);
  const options: SampleOptions<PretrainOptions> & StepOptions = {
    ...PRETRAIN_SAMPLE_DEFAULTS,
    data: SAMPLE_DATA,
    ...sampleTestData(changes),
    ...NOT_ASKED_FOR,
    pretrained: null,
    ...changes,
  };
  const [encoder] = encodersNamed(options.arch);
  const trainedAs = encoder && withoutDropPath(encoder);
  return withKnownOptimizer(options, trainedAs, changes, PRETRAIN_SAMPLE_ADAMW);
}

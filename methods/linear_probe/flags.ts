/** The flags of a linear evaluation: those of the original's main_lincls.py, under its names. */
import { DEFAULT_WORKERS_NOTE } from "../../actors/default_workers.ts";
import { VIEW_DEFAULT_NOTES } from "../encoder_views.ts";
import { describeDefaults, type FlagTable, type RetiredFlag } from "../flag_table.ts";
import {
  CACHE_DEFAULT_NOTE,
  cacheFlag,
  DATA,
  encoderFlags,
  type EncoderNames,
  evalResizeFlag,
  fastDecodeFlag,
  FEATURE_DEFAULT_NOTE,
  FILE_FLAGS,
  FRESH_ENCODER,
  frozenAmpFlag,
  HEADS_DEFAULT_NOTE,
  imageSizeFlag,
  maxPixelsFlag,
  PROCESS_FLAGS,
  SGD_FLAGS,
  STEM_DEFAULT_NOTE,
  testDataFlag,
  TRAINING,
  WEIGHTS_DEFAULT_NOTE,
  workersFlag,
} from "../shared_flags.ts";
import { LINEAR_DEFAULTS, LINEAR_SAMPLE_DEFAULTS, type LinearDefaults } from "./options.ts";

const { epochs, startEpoch, batchSize, scaleLr, warmupEpochs, momentum, weightDecay } = SGD_FLAGS;

const DATA_FLAGS = {
  output: FILE_FLAGS.output,
  testData: testDataFlag(DATA),
  resume: {
    kind: "text",
    metavar: "FILE",
    group: DATA,
    help:
      "lincls checkpoint to resume from, which includes the encoder; auto: the newest one in --output, or a " +
      "new run if there is none",
    brief: "checkpoint to resume from; auto: the newest in --output",
  },
  resumeAnyway: FILE_FLAGS.resumeAnyway,
  evaluate: {
    kind: "boolean",
    short: "e",
    group: DATA,
    help: "only evaluate on the test images, with the classifiers of --resume; --lr selects some of them",
    brief: "only evaluate on the test images; needs --resume",
  },
  cacheFeatures: {
    kind: "boolean",
    group: DATA,
    help:
      "compute the features once, from center crops, and reuse them in every epoch: much faster, but slightly less " +
      "accurate than random crops and flips",
    brief: "compute features once, without augmentation: much faster",
  },
  amp: {
    ...frozenAmpFlag(DATA),
    help:
      "keep the encoder's activations and weights in float16, and add up in float32; its trained weights stay in float32 with " +
      "--finetune. Halves the memory for both; needs an adapter with shader-f16",
  },
  imageSize: imageSizeFlag(DATA),
  maxPixels: maxPixelsFlag(DATA),
  fastDecode: fastDecodeFlag(DATA),
  evalResize: evalResizeFlag(DATA),
  labelFraction: {
    kind: "number",
    above: 0,
    max: 1,
    group: DATA,
    help:
      "share of the images of each class to learn from, such as 0.01 or 0.1, chosen by --seed; one image of each at least",
    brief: "share of each class to learn from, such as 0.1",
  },
  classes: { kind: "integer", min: 2, group: DATA, help: "number of classes; labels are 0 to N - 1" },
  workers: workersFlag(DATA, 64),
  cache: cacheFlag(DATA),
} as const satisfies FlagTable;

const TRAINING_FLAGS = {
  epochs,
  startEpoch,
  batchSize,
  lr: {
    kind: "numbers",
    above: 0,
    aliases: ["learning-rate"],
    group: TRAINING,
    help:
      "learning rate for a batch of 256 images. Given several, one classifier is trained with each at the same time, " +
      "and the best is reported",
    brief: "learning rates; one classifier is trained with each",
  },
  scaleLr,
  warmupEpochs,
  schedule: {
    kind: "integers",
    min: 0,
    aliases: ["decay-epochs"],
    group: TRAINING,
    help: "epochs at which the learning rate is divided by 10; with --finetune multiplied by --gamma",
  },
  momentum,
  weightDecay,
  seed: {
    kind: "integer",
    min: 0,
    group: TRAINING,
    help: "random seed for the classifier's weights, the order of the images and their crops",
    brief: "random seed",
  },
} as const satisfies FlagTable;

/** The table of the flags. */
export function linearFlags(names: EncoderNames) {
  return {
    ...encoderFlags(names, "Encoder", FRESH_ENCODER),
    ...DATA_FLAGS,
    ...TRAINING_FLAGS,
  } as const satisfies FlagTable;
}

/** Defaults of the original that differ. */
const ORIGINAL_DEFAULTS: Readonly<Partial<Record<keyof LinearDefaults, string>>> = {
  seed: "none",
};

/** Says for `--help` what is the case where a flag is not given. */
export const LINEAR_DEFAULT_NOTES = {
  ...describeDefaults<LinearDefaults>(LINEAR_DEFAULTS, LINEAR_SAMPLE_DEFAULTS, ORIGINAL_DEFAULTS),
  ...VIEW_DEFAULT_NOTES,
  workers: `${DEFAULT_WORKERS_NOTE}; the original: 32`,
  cache: CACHE_DEFAULT_NOTE,
  arch: "default: recognised from the checkpoint; the original: resnet50",
  stem: STEM_DEFAULT_NOTE,
  which: "default: student",
  weights: WEIGHTS_DEFAULT_NOTE,
  heads: HEADS_DEFAULT_NOTE,
  feature: FEATURE_DEFAULT_NOTE,
  classes: "default: inferred from the labels",
  testData: "default: test.tsv, val/ or similar in DATA",
  output: "default: a new folder under output/",
};

/** Flags of the original that have no place here. */
export const LINEAR_RETIRED: Readonly<Record<string, RetiredFlag>> = PROCESS_FLAGS;

/** The flags of a linear evaluation: those of the original's main_lincls.py, under its names. */
import { VIEW_DEFAULT_NOTES } from "../encoder_views.ts";
import { describeDefaults, type FlagTable, type RetiredFlag } from "../flag_table.ts";
import {
  DATA,
  encoderFlags,
  type EncoderNames,
  evalResizeFlag,
  FILE_FLAGS,
  FRESH_ENCODER,
  imageSizeFlag,
  maxPixelsFlag,
  processFlags,
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
      "checkpoint of a linear evaluation to resume from, which has the encoder too; auto: the newest one in --output, " +
      "or a new run where there is none",
    brief: "checkpoint to resume from; auto: the newest in --output",
  },
  resumeAnyway: FILE_FLAGS.resumeAnyway,
  evaluate: {
    kind: "boolean",
    short: "e",
    group: DATA,
    help: "only classify the test images, with the classifiers of --resume, or those of some --lr",
    brief: "only classify the test images, with --resume",
  },
  cacheFeatures: {
    kind: "boolean",
    group: DATA,
    help:
      "compute each image's features once, from its center crop, and train on them in every epoch: much faster, and a " +
      "little less accurate than with random crops and flips",
    brief: "compute features once, without augmentation: much faster",
  },
  imageSize: imageSizeFlag(DATA),
  maxPixels: maxPixelsFlag(DATA),
  evalResize: evalResizeFlag(DATA),
  classes: { kind: "integer", min: 2, group: DATA, help: "classes, whose labels are 0 to N - 1" },
  workers: workersFlag(DATA, 64),
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
      "learning rate for a batch of 256 images; of several, a classifier is trained with each, side by side, " +
      "and the best is reported",
    brief: "learning rates; a classifier is trained with each",
  },
  scaleLr,
  warmupEpochs,
  schedule: {
    kind: "integers",
    min: 0,
    group: TRAINING,
    help: "epochs at which the learning rate is divided by 10",
  },
  momentum,
  weightDecay,
  seed: {
    kind: "integer",
    min: 0,
    group: TRAINING,
    help: "seed of the classifier's weights, the order of the images and their crops",
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
  workers: "32",
  seed: "none",
};

/** Says for `--help` what is the case where a flag is not given. */
export const LINEAR_DEFAULT_NOTES = {
  ...describeDefaults<LinearDefaults>(LINEAR_DEFAULTS, LINEAR_SAMPLE_DEFAULTS, ORIGINAL_DEFAULTS),
  ...VIEW_DEFAULT_NOTES,
  arch: "default: recognised from the checkpoint; the original: resnet50",
  stem: STEM_DEFAULT_NOTE,
  which: "default: student",
  weights: WEIGHTS_DEFAULT_NOTE,
  classes: "default: as many as the labels say",
  testData: "default: test.tsv, val/ or the like in DATA",
  output: "default: a new folder under output/",
};

/** Flags of the original that have no place here. */
export const LINEAR_RETIRED: Readonly<Record<string, RetiredFlag>> = processFlags(
  "there is one process, and it uses one device",
);

/** The flags of every method that trains an encoder: images and files, training, evaluation. */
import { augmentationNames } from "../../kernels/image/augmentations.ts";
import type { FlagTable } from "../flag_table.ts";
import {
  cacheFlag,
  DATA,
  evalResizeFlag,
  fastDecodeFlag,
  FILE_FLAGS,
  GENERAL,
  imageSizeFlag,
  maxPixelsFlag,
  SGD_FLAGS,
  STEP_FLAGS,
  TRAINING,
  WEIGHT_DECAY_FLAG,
  workersFlag,
} from "../shared_flags.ts";

const EVALUATION = "Evaluation";

/** The images, and where files go; what a plugin registered is among the choices. */
export function dataFlags() {
  return {
    data: {
      kind: "text",
      metavar: "FOLDER",
      group: DATA,
      help:
        "folder with train.tsv, train/ or CIFAR binary files (and test.tsv or val/ for the kNN), or a folder of images",
      brief: "training images: a folder, TSV files or CIFAR",
    },
    testData: {
      kind: "text",
      metavar: "DATA",
      group: DATA,
      help: "TSV file, folder or CIFAR file with the test images of the kNN evaluation",
    },
    output: FILE_FLAGS.output,
    resume: {
      kind: "text",
      metavar: "FILE",
      group: DATA,
      help: "checkpoint to resume from; auto: the newest one in --output, or a new run if there is none",
      brief: "checkpoint to resume from; auto: the newest in --output",
    },
    resumeAnyway: FILE_FLAGS.resumeAnyway,
    saveEvery: {
      kind: "text",
      metavar: "N|TIME",
      isParsed: true,
      group: DATA,
      help:
        "write a checkpoint every N steps (such as 500) or every TIME (such as 90s, 30m, 2h), in addition to the end " +
        "of each epoch",
    },
    keep: { kind: "integer", min: 0, group: DATA, help: "number of newest checkpoints to keep; 0 keeps all" },
    augmentation: {
      kind: "choice",
      values: augmentationNames(),
      group: DATA,
      help: "augmentation of the views",
    },
    imageSize: imageSizeFlag(DATA, 1024),
    maxPixels: maxPixelsFlag(DATA),
    fastDecode: fastDecodeFlag(DATA),
    evalResize: evalResizeFlag(DATA),
    workers: workersFlag(DATA, 256),
    cache: cacheFlag(DATA),
  } as const satisfies FlagTable;
}

const { epochs, startEpoch, batchSize, scaleLr, warmupEpochs, momentum } = SGD_FLAGS;
const { optimizer, dropPath, accumulate, clipGrad, statsEvery, amp, onNan, syncBn, compress } = STEP_FLAGS;

/** Epochs, batches, optimizer, memory. */
export const TRAINING_FLAGS = {
  epochs,
  startEpoch,
  batchSize,
  lr: {
    kind: "number",
    min: 0,
    aliases: ["learning-rate"],
    group: TRAINING,
    help: "learning rate; with --scale-lr, for a batch of 256 images",
    brief: "learning rate; for a batch of 256 with --scale-lr",
  },
  scaleLr,
  warmupEpochs: {
    ...warmupEpochs,
    help: "epochs of linear warm-up from --lr, or from 0 with --lr-per-step, to the scaled rate",
  },
  cos: { kind: "boolean", group: TRAINING, help: "cosine learning rate schedule" },
  lrPerStep: {
    kind: "boolean",
    group: TRAINING,
    help:
      "change the learning rate with every step, as MoCo-v3 and DINO do; the cosine begins after the warm-up",
  },
  schedule: {
    kind: "integers",
    min: 0,
    group: TRAINING,
    help: "with --no-cos: epochs at which the learning rate is divided by 10",
  },
  optimizer,
  momentum,
  weightDecay: WEIGHT_DECAY_FLAG,
  dropPath,
  accumulate,
  clipGrad,
  statsEvery,
  syncBn,
  compress,
  checkpointActivations: {
    kind: "boolean",
    group: TRAINING,
    help:
      "recompute the encoder's activations in the backward pass instead of storing them: larger batches and images " +
      "fit, a step takes up to a third longer, and the weights are bit-identical",
  },
  amp,
  limitSteps: {
    kind: "integer",
    min: 1,
    group: TRAINING,
    help: "stop after N steps, for a quick trial",
    brief: "stop after N steps",
  },
  seed: {
    kind: "integer",
    min: 0,
    group: TRAINING,
    help: "random seed for the encoder's weights, the order of the images and their augmentation",
    brief: "random seed",
  },
  onNan,
} as const satisfies FlagTable;

/** The kNN. */
export const EVALUATION_FLAGS = {
  knnK: {
    kind: "integer",
    min: 1,
    group: EVALUATION,
    help: "number of neighbours (k) in the kNN evaluation",
  },
  knnImages: {
    kind: "integer",
    min: 1,
    group: EVALUATION,
    help:
      "training images that vote in the kNN evaluation at most, and images that are classified; of more, a sample",
  },
  knnT: { kind: "number", above: 0, group: EVALUATION, help: "temperature of the weighted kNN votes" },
  knnEvery: {
    kind: "integer",
    min: 0,
    aliases: ["eval-freq"],
    group: EVALUATION,
    help:
      "epochs between kNN evaluations, which run in parallel with training; 0: only before the first epoch and after the last",
    brief: "epochs between kNN evaluations",
  },
} as const satisfies FlagTable;

/** Restarts and snapshots. */
export const OTHER_FLAGS = {
  maxRestarts: {
    kind: "integer",
    min: 0,
    group: GENERAL,
    help: "maximum number of restarts of crashed actors within 10 minutes; one more crash ends the run",
  },
  insight: {
    kind: "boolean",
    group: GENERAL,
    help:
      "record snapshots for the page and the report: views and similarities periodically, nearest neighbours after " +
      "every epoch",
  },
} as const satisfies FlagTable;

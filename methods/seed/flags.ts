/** The flags of a distillation: the original's, under its names. */
import { augmentationNames } from "../../kernels/image/augmentations.ts";
import { lossNames } from "../../models/loss/losses.ts";
import { describeDefaults, type FlagTable, type RetiredFlag } from "../flag_table.ts";
import {
  DATA,
  encoderFlag,
  type EncoderNames,
  evalResizeFlag,
  FILE_FLAGS,
  GENERAL,
  imageSizeFlag,
  maxPixelsFlag,
  pluginFlag,
  processFlags,
  SGD_FLAGS,
  TRAINING,
  WEIGHTS_DEFAULT_NOTE,
  weightsFlag,
  workersFlag,
} from "../shared_flags.ts";
import { type Defaults, PAPER_DEFAULTS, RECIPES, SAMPLE_DEFAULTS } from "./defaults.ts";

const MODELS = "Models";
const LOSS = "SEED's loss";
const EVALUATION = "Evaluation";

/** The encoders that the flags may name. */
export interface DistillNames extends EncoderNames {
  /** Names that a teacher's encoder may be given by; those of the students by default. */
  teachers?: readonly string[];
}

function modelFlags(names: DistillNames) {
  const { teachers = names.encoders } = names;
  return {
    recipe: {
      kind: "choice",
      values: Object.keys(RECIPES),
      group: MODELS,
      help: "settings of the paper by name, printed before the run; other flags override them",
    },
    studentArch: encoderFlag(names, { short: "a", group: MODELS, help: "encoder of the student" }),
    teacherArch: encoderFlag({ ...names, encoders: teachers }, {
      short: "k",
      group: MODELS,
      help: "encoder of the teacher, by its own name or by the original's beside --teacher-ssl (resnet50w2)",
    }),
    teacherSsl: {
      kind: "choice",
      values: ["moco", "simclr", "swav"],
      short: "s",
      group: MODELS,
      help: "how the teacher was trained",
    },
    distill: {
      kind: "text",
      metavar: "FILE",
      group: MODELS,
      help: "the teacher's checkpoint, a PyTorch file; required with --data",
    },
    weights: weightsFlag(MODELS),
    feature: {
      kind: "boolean",
      group: MODELS,
      help:
        "distil the teacher's pooled feature and not its embedding: it needs no head, and --dim is the feature's length",
    },
    plugin: pluginFlag(MODELS),
    dim: { kind: "integer", min: 1, group: MODELS, help: "numbers in an embedding" },
    studentMlp: {
      kind: "boolean",
      group: MODELS,
      help: "give the student a head of two layers, as MoCo-v2 does; one layer otherwise",
    },
    studentInit: {
      kind: "text",
      metavar: "FILE",
      group: MODELS,
      help:
        "checkpoint that the student starts from: of any program that --distill takes, or deno task export's; a " +
        "head that does not fit is made anew",
    },
  } as const satisfies FlagTable;
}

function dataFlags() {
  return {
    data: {
      kind: "text",
      metavar: "FOLDER",
      group: DATA,
      help:
        "folder of train.tsv, train/ or CIFAR's binary files (and test.tsv or val/ for the kNN), or a folder of images",
    },
    testData: {
      kind: "text",
      metavar: "DATA",
      group: DATA,
      help: "TSV file, folder or CIFAR file to evaluate the kNN on",
    },
    output: FILE_FLAGS.output,
    resume: {
      kind: "text",
      metavar: "FILE",
      group: DATA,
      help:
        "checkpoint of a student to go on from, which says where; auto: the newest one in --output, or anew where " +
        "there is none",
    },
    resumeAnyway: FILE_FLAGS.resumeAnyway,
    saveEvery: {
      kind: "text",
      metavar: "N|TIME",
      group: DATA,
      help:
        "write a checkpoint every so many steps (500), or after so much time (90s, 30m, 2h), besides the end of " +
        "each epoch",
    },
    keep: { kind: "integer", min: 0, group: DATA, help: "newest checkpoints to keep; 0 keeps all" },
    augmentation: {
      kind: "choice",
      values: augmentationNames(),
      group: DATA,
      help: "rule by which views are drawn",
    },
    imageSize: imageSizeFlag(DATA, 1024),
    maxPixels: maxPixelsFlag(DATA),
    evalResize: evalResizeFlag(DATA),
    workers: workersFlag(DATA, 256),
  } as const satisfies FlagTable;
}

const { epochs, startEpoch, batchSize, scaleLr, warmupEpochs, momentum, weightDecay } = SGD_FLAGS;

const TRAINING_FLAGS = {
  epochs,
  startEpoch,
  batchSize,
  lr: {
    kind: "number",
    min: 0,
    aliases: ["learning-rate"],
    group: TRAINING,
    help: "learning rate, for a batch of 256 images where --scale-lr is on",
  },
  scaleLr,
  warmupEpochs,
  cos: { kind: "boolean", group: TRAINING, help: "lower the learning rate along half a cosine" },
  schedule: {
    kind: "integers",
    min: 0,
    group: TRAINING,
    help: "with --no-cos: epochs at which the learning rate becomes ten times lower",
  },
  momentum,
  weightDecay,
  accumulate: {
    kind: "integer",
    min: 1,
    group: TRAINING,
    help:
      "batches whose gradients make one step, as one batch of all their images would (but for batch norm, which sees " +
      "each by itself): for batches that do not fit; fewer at the end of an epoch. --scale-lr counts all of them",
  },
  clipGrad: {
    kind: "number",
    above: 0,
    group: TRAINING,
    help: "L2 norm that the gradients of all weights together are clipped to",
  },
  checkpointActivations: {
    kind: "boolean",
    group: TRAINING,
    help:
      "compute the student's activations again for the backward pass instead of keeping them: bigger batches and " +
      "images fit, and a step takes up to a third longer; the weights are the same bits",
  },
  amp: {
    kind: "boolean",
    group: TRAINING,
    help:
      "mixed precision: activations in float16, sums, weights and the loss in float32, the loss scaled by the rule of " +
      "torch.amp.GradScaler; half the memory for activations, on an adapter that has shader-f16",
  },
  limitSteps: {
    kind: "integer",
    min: 1,
    group: TRAINING,
    help: "end after so many steps, for a quick trial",
  },
  seed: {
    kind: "integer",
    min: 0,
    group: TRAINING,
    help: "seed of the student's weights, the order of the images and their augmentation",
  },
  onNan: {
    kind: "choice",
    values: ["stop", "skip"],
    group: TRAINING,
    help: "what becomes of a step whose loss or gradients are not finite",
  },
} as const satisfies FlagTable;

function lossFlags() {
  return {
    loss: { kind: "choice", values: lossNames(), group: LOSS, help: "what is trained on" },
    queue: {
      kind: "integer",
      min: 1,
      group: LOSS,
      help: "teacher embeddings in the queue; a multiple of the batch size",
    },
    temp: { kind: "number", above: 0, group: LOSS, help: "softmax temperature of the student" },
    distillT: { kind: "number", above: 0, group: LOSS, help: "softmax temperature of the teacher" },
    smallViews: {
      kind: "integer",
      min: 0,
      max: 64,
      group: LOSS,
      help:
        "small views of each image, with a queue and a loss of their own, as in the original's main_small-patch.py, " +
        "which has 6; all views are then SWAV's",
    },
    smallSize: {
      kind: "integer",
      min: 8,
      max: 4096,
      group: LOSS,
      help: "height and width of a small view, in pixels",
    },
  } as const satisfies FlagTable;
}

const EVALUATION_FLAGS = {
  knnK: { kind: "integer", min: 1, group: EVALUATION, help: "neighbours that vote" },
  knnT: { kind: "number", above: 0, group: EVALUATION, help: "temperature of their votes" },
  knnEvery: {
    kind: "integer",
    min: 0,
    aliases: ["eval-freq"],
    group: EVALUATION,
    help:
      "epochs between two evaluations, next to training; 0 evaluates before the first epoch and after the last",
  },
} as const satisfies FlagTable;

const OTHER_FLAGS = {
  maxRestarts: {
    kind: "integer",
    min: 0,
    group: GENERAL,
    help: "crashes within ten minutes after which actors are started again; the next one ends the run",
  },
  insight: {
    kind: "boolean",
    group: GENERAL,
    help:
      "take snapshots of the run for the page and the report: views and similarities now and then, neighbours after every " +
      "epoch",
  },
} as const satisfies FlagTable;

/** The table of the flags; what a plugin registered is among the choices. */
export function distillFlags(names: DistillNames) {
  return {
    ...modelFlags(names),
    ...dataFlags(),
    ...TRAINING_FLAGS,
    ...lossFlags(),
    ...EVALUATION_FLAGS,
    ...OTHER_FLAGS,
  } as const satisfies FlagTable;
}

/** Defaults of the original that would not work as they are, or that its own help contradicts. */
const ORIGINAL_DEFAULTS: Readonly<Partial<Record<keyof Defaults, string>>> = {
  studentArch: "mobilenetv3_large",
  workers: "32",
  batchSize: "4",
  distillT: "1e-4",
  seed: "none",
};

/** Says for `--help` what is the case where a flag is not given. */
export const DISTILL_DEFAULT_NOTES = {
  ...describeDefaults<Defaults>(PAPER_DEFAULTS, SAMPLE_DEFAULTS, ORIGINAL_DEFAULTS),
  teacherArch: "default: recognised from the checkpoint",
  teacherSsl: "default: recognised from the checkpoint; the original: simclr",
  distill: "default: the bundled teacher",
  weights: WEIGHTS_DEFAULT_NOTE,
  data: "default: the bundled images",
  testData: "default: test.tsv, val/ or the like in the folder of --data, where it is there",
  output: "default: a new folder under output/",
  recipe: "default: none",
  plugin: "default: none",
  augmentation: "default: the teacher's, as the original chooses it; swav with --small-views",
  loss: "default: seed",
  studentInit: "default: fresh weights",
  saveEvery: "default: the end of each epoch",
};

const ONE_MACHINE = "one machine and one GPU do the training";

/** Flags of the original and of MoCo that have no place here. */
export const DISTILL_RETIRED: Readonly<Record<string, RetiredFlag>> = {
  ...processFlags(ONE_MACHINE),
  "distributed": { takesValue: true, reason: ONE_MACHINE },
  "info": { takesValue: true, reason: "the original does not read it either" },
};

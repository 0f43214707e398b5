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
  stemFlag,
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
      brief: "settings of the paper by name: paper-moco-r50 and others",
    },
    studentArch: encoderFlag(names, {
      short: "a",
      group: MODELS,
      brief: "encoder of the student",
      help: "encoder of the student",
    }),
    stem: stemFlag(MODELS, "the student's first layers (the teacher's are those of its checkpoint)"),
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
      brief: "the teacher's checkpoint, a PyTorch file",
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
        "head that does not fit gets fresh weights",
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
      brief: "images: a folder, TSV files, or CIFAR",
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
        "checkpoint of a student to resume from; auto: the newest one in --output, or a new run where there is none",
      brief: "checkpoint to resume from; auto: the newest in --output",
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
      help: "augmentation of the views",
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
    brief: "learning rate; for a batch of 256 with --scale-lr",
  },
  scaleLr,
  warmupEpochs,
  cos: { kind: "boolean", group: TRAINING, help: "cosine schedule of the learning rate" },
  schedule: {
    kind: "integers",
    min: 0,
    group: TRAINING,
    help: "with --no-cos: epochs at which the learning rate is divided by 10",
  },
  momentum,
  weightDecay,
  accumulate: {
    kind: "integer",
    min: 1,
    group: TRAINING,
    help:
      "batches whose gradients are accumulated into one step, for batches that do not fit in memory; batch norm sees " +
      "each batch by itself. --scale-lr counts the images of all of them",
  },
  clipGrad: {
    kind: "number",
    above: 0,
    group: TRAINING,
    help: "largest L2 norm of the gradient; a longer one is scaled down to it",
  },
  statsEvery: {
    kind: "integer",
    min: 0,
    group: TRAINING,
    help:
      "batches between two records in stats.jsonl: gradient and weight norms by group of layers, device time, memory; 0 for none",
  },
  checkpointActivations: {
    kind: "boolean",
    group: TRAINING,
    help:
      "recompute the student's activations in the backward pass instead of keeping them: larger batches and images " +
      "fit, a step takes up to a third longer, and the weights are the same bits",
  },
  amp: {
    kind: "boolean",
    group: TRAINING,
    help:
      "mixed precision: activations in float16; sums, weights and loss in float32; loss scaling by the rule of " +
      "torch.amp.GradScaler. Halves the memory for activations. Needs an adapter with shader-f16",
    brief: "mixed precision: activations in float16",
  },
  limitSteps: {
    kind: "integer",
    min: 1,
    group: TRAINING,
    help: "end after so many steps, for a quick trial",
    brief: "end after so many steps",
  },
  seed: {
    kind: "integer",
    min: 0,
    group: TRAINING,
    help: "seed of the student's weights, the order of the images and their augmentation",
    brief: "random seed",
  },
  onNan: {
    kind: "choice",
    values: ["stop", "skip"],
    group: TRAINING,
    help: "action on NaN or Inf in the loss or the gradient",
  },
} as const satisfies FlagTable;

function lossFlags() {
  return {
    loss: { kind: "choice", values: lossNames(), group: LOSS, help: "the loss" },
    queue: {
      kind: "integer",
      min: 1,
      group: LOSS,
      help: "teacher embeddings in the queue; a multiple of the batch size",
      brief: "embeddings in the queue; a multiple of the batch size",
    },
    temp: { kind: "number", above: 0, group: LOSS, help: "softmax temperature of the student" },
    distillT: { kind: "number", above: 0, group: LOSS, help: "softmax temperature of the teacher" },
    smallViews: {
      kind: "integer",
      min: 0,
      max: 64,
      group: LOSS,
      help:
        "local views of each image (multi-crop), with a queue and a loss of their own, as in the original's " +
        "main_small-patch.py, which has 6; all views are then augmented as SWAV's are",
    },
    smallSize: {
      kind: "integer",
      min: 8,
      max: 4096,
      group: LOSS,
      help: "height and width of a local view, in pixels",
    },
  } as const satisfies FlagTable;
}

const EVALUATION_FLAGS = {
  knnK: { kind: "integer", min: 1, group: EVALUATION, help: "neighbours that vote (k of the kNN)" },
  knnT: { kind: "number", above: 0, group: EVALUATION, help: "temperature of their votes" },
  knnEvery: {
    kind: "integer",
    min: 0,
    aliases: ["eval-freq"],
    group: EVALUATION,
    help:
      "epochs between two evaluations, which run beside the training; 0 evaluates before the first epoch and after the last",
    brief: "epochs between kNN evaluations",
  },
} as const satisfies FlagTable;

const OTHER_FLAGS = {
  maxRestarts: {
    kind: "integer",
    min: 0,
    group: GENERAL,
    help: "maximum restarts of crashed actors within 10 minutes; one crash more ends the run",
  },
  insight: {
    kind: "boolean",
    group: GENERAL,
    help:
      "record snapshots for the page and the report: views and similarities now and then, nearest neighbours after " +
      "every epoch",
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
  stem: "default: imagenet",
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

/** The flags of a distillation: the original's, under its names. */
import { DEFAULT_WORKERS_NOTE } from "../../actors/default_workers.ts";
import { MAX_VIEW_SIDE } from "../../kernels/image/view_plan.ts";
import { SSL_TITLES, type TeacherSsl } from "../../models/encoder.ts";
import { lossNames } from "../../models/loss/losses.ts";
import { viewDefaultNotes } from "../encoder_views.ts";
import { describeDefaults, type FlagTable, type RetiredFlag } from "../flag_table.ts";
import { dataFlags, EVALUATION_FLAGS, OTHER_FLAGS, TRAINING_FLAGS } from "../encoder_training/flags.ts";
import {
  CACHE_DEFAULT_NOTE,
  encoderFlag,
  type EncoderNames,
  HEADS_DEFAULT_NOTE,
  headsFlag,
  imageSizeFlag,
  LR_PER_STEP_NOTE,
  pluginFlag,
  PROCESS_FLAGS,
  stemFlag,
  STEP_DEFAULT_NOTES,
  WEIGHTS_DEFAULT_NOTE,
  weightsFlag,
  withAdamW,
} from "../shared_flags.ts";
import { type Defaults, PAPER_ADAMW, PAPER_DEFAULTS, SAMPLE_ADAMW, SAMPLE_DEFAULTS } from "./defaults.ts";
import { RECIPES } from "./recipes.ts";
import { TEACHER_FEATURES } from "../../models/teacher.ts";

const SSL_NAMES = Object.keys(SSL_TITLES) as TeacherSsl[];
const MODELS = "Models";
const LOSS = "SEED's loss";

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
      help:
        "preset of settings for a teacher, the paper's or one of DINO's and the like, printed before the run; other flags " +
        "override it",
      brief: "preset for a teacher: paper-moco-r50, dinov2-vits14 and others",
    },
    studentArch: encoderFlag(names, {
      short: "a",
      group: MODELS,
      brief: "student encoder",
      help: "student encoder",
    }, "student"),
    stem: stemFlag(MODELS, "the student's first layers (the teacher's are those of its checkpoint)"),
    teacherArch: encoderFlag({ ...names, encoders: teachers }, {
      short: "k",
      group: MODELS,
      help: "teacher encoder, by its own name or, with --teacher-ssl, by the original's (resnet50w2)",
    }, "teacher"),
    teacherSsl: {
      kind: "choice",
      values: SSL_NAMES,
      short: "s",
      group: MODELS,
      help: "method that the teacher was pretrained with",
    },
    distill: {
      kind: "text",
      metavar: "FILE",
      group: MODELS,
      help: "teacher checkpoint, a PyTorch file; required with --data",
      brief: "teacher checkpoint, a PyTorch file",
    },
    weights: weightsFlag(MODELS),
    heads: headsFlag(MODELS),
    feature: {
      kind: "choice",
      values: TEACHER_FEATURES,
      implied: "pooled",
      group: MODELS,
      help:
        "distil the teacher's features instead of its embeddings: it needs no head, and --dim is the feature length; pooled " +
        "(also without a value) is its usual one, the others are of vision transformers and DINOv3's ConvNeXts: class token, " +
        "mean of the patch tokens, both",
    },
    plugin: pluginFlag(MODELS, "encoders, losses or augmentations for the other flags to name"),
    dim: { kind: "integer", min: 1, group: MODELS, help: "embedding dimension" },
    studentMlp: {
      kind: "boolean",
      group: MODELS,
      help: "give the student a two-layer head, as in MoCo-v2, instead of a single layer",
    },
    studentInit: {
      kind: "text",
      metavar: "FILE",
      group: MODELS,
      help:
        "checkpoint to initialise the student from: any that --distill accepts, or one from deno task export; a head " +
        "that does not fit gets random weights",
    },
  } as const satisfies FlagTable;
}

function lossFlags() {
  return {
    loss: {
      kind: "choice",
      values: lossNames(),
      group: LOSS,
      help:
        "loss function; cosine and mse compare only an image's own two embeddings, in_batch those of a batch, without the queue; " +
        "tokens adds to seed a comparison of places within each image",
      brief: `loss function: ${lossNames().join(", ")}`,
    },
    queue: {
      kind: "integer",
      min: 1,
      group: LOSS,
      help: "teacher embeddings in the queue; a multiple of the batch size",
      brief: "embeddings in the queue; a multiple of the batch size",
    },
    temp: { kind: "number", above: 0, group: LOSS, help: "softmax temperature of the student" },
    distillT: { kind: "number", above: 0, group: LOSS, help: "softmax temperature of the teacher" },
    tokenT: {
      kind: "number",
      above: 0,
      group: LOSS,
      help: "--loss tokens: softmax temperature of similarities within an image, of teacher and student",
    },
    tokenWeight: { kind: "number", min: 0, group: LOSS, help: "--loss tokens: weight of that comparison" },
    teacherSize: {
      ...imageSizeFlag(LOSS, 1024),
      brief: undefined,
      help:
        "height and width of the teacher's views, in pixels; --image-size is then the student's: the same views are made at " +
        "the larger size and shrunk to the smaller",
    },
    mixup: {
      kind: "number",
      min: 0,
      max: 100,
      group: LOSS,
      help:
        "mix the views of a batch with each other, by a weight from Beta(X, X) for each batch: 1 is uniform, 0 is off",
    },
    smallViews: {
      kind: "integer",
      min: 0,
      max: 64,
      group: LOSS,
      help:
        "number of local views per image (multi-crop), with their own queue and loss, as in the original's " +
        "main_small-patch.py, which uses 6; they get SWAV's augmentation, as do the other views unless --augmentation " +
        "names one",
    },
    smallSize: {
      kind: "integer",
      min: 8,
      max: MAX_VIEW_SIDE,
      group: LOSS,
      help: "height and width of a local view, in pixels",
    },
  } as const satisfies FlagTable;
}

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
  batchSize: "4",
  distillT: "1e-4",
  seed: "none",
};

const DEFAULT_NOTES = describeDefaults<Defaults>(PAPER_DEFAULTS, SAMPLE_DEFAULTS, ORIGINAL_DEFAULTS);

/** Says for `--help` what is the case where a flag is not given. */
export const DISTILL_DEFAULT_NOTES = {
  ...DEFAULT_NOTES,
  ...STEP_DEFAULT_NOTES,
  ...viewDefaultNotes("the teacher's checkpoint"),
  lrPerStep: LR_PER_STEP_NOTE,
  lr: withAdamW(DEFAULT_NOTES.lr, PAPER_ADAMW.lr, SAMPLE_ADAMW.lr),
  weightDecay: withAdamW(DEFAULT_NOTES.weightDecay, PAPER_ADAMW.weightDecay, SAMPLE_ADAMW.weightDecay),
  workers: `${DEFAULT_WORKERS_NOTE}; the original: 32`,
  cache: CACHE_DEFAULT_NOTE,
  stem: "default: imagenet",
  teacherArch: "default: recognised from the checkpoint",
  teacherSsl: "default: recognised from the checkpoint; the original: simclr",
  distill: "default: the bundled teacher",
  weights: WEIGHTS_DEFAULT_NOTE,
  heads: HEADS_DEFAULT_NOTE,
  feature:
    "default: embeddings; the feature that the checkpoint says, else cls, of a teacher that needs no head",
  dim: "default: 128, or the length of the feature of a teacher that needs no head",
  data: "default: the bundled images",
  testData:
    "default: test.tsv, val/ or similar in the folder of --data; without them, held-out labels of --data",
  output: "default: a new folder under output/",
  recipe: "default: none",
  plugin: "default: none",
  teacherSize: "default: --image-size",
  augmentation: "default: the teacher's, as in the original; swav with --small-views",
  loss: "default: seed",
  studentInit: "default: random weights",
  saveEvery: "default: only at the end of each epoch",
};

/** Flags of the original and of MoCo that have no place here. */
export const DISTILL_RETIRED: Readonly<Record<string, RetiredFlag>> = {
  ...PROCESS_FLAGS,
  "distributed": PROCESS_FLAGS["rank"],
  "info": { takesValue: true, reason: "the original ignores it too" },
};

/** The flags of a pretraining: those of MoCo's main_moco.py, under its names. */
import { dataFlags, EVALUATION_FLAGS, OTHER_FLAGS, TRAINING_FLAGS } from "../encoder_training/flags.ts";
import { describeDefaults, type FlagTable, type RetiredFlag } from "../flag_table.ts";
import { DEFAULT_WORKERS_NOTE } from "../../actors/default_workers.ts";
import {
  CACHE_DEFAULT_NOTE,
  encoderFlag,
  type EncoderNames,
  LR_PER_STEP_NOTE,
  pluginFlag,
  PROCESS_FLAGS,
  stemFlag,
  STEP_DEFAULT_NOTES,
  withAdamW,
} from "../shared_flags.ts";
import {
  PRETRAIN_ADAMW,
  PRETRAIN_DEFAULTS,
  PRETRAIN_SAMPLE_ADAMW,
  PRETRAIN_SAMPLE_DEFAULTS,
  type PretrainDefaults,
} from "./defaults.ts";

const MODEL = "Model";
const MOCO = "MoCo";

/** The table of the flags; what a plugin registered is among the choices. */
export function pretrainFlags(names: EncoderNames) {
  const { augmentation: _, ...data } = dataFlags();
  return {
    arch: encoderFlag(names, {
      short: "a",
      group: MODEL,
      help: "encoder to pretrain, a student's included",
      brief: "encoder to pretrain",
    }),
    stem: stemFlag(MODEL, "the encoder's first layers"),
    plugin: pluginFlag(MODEL),
    pretrained: {
      kind: "text",
      metavar: "FILE",
      group: MODEL,
      help:
        "checkpoint that both encoders start from, to go on with weights from elsewhere on your own images: any that deno task " +
        "distill takes as a teacher; a head that does not fit gets random weights",
      brief: "checkpoint to start from, to go on with it on your own images",
    },
    mlp: {
      kind: "boolean",
      group: MODEL,
      help: "use a head of two layers, as in MoCo-v2; one layer otherwise",
    },
    ...data,
    ...TRAINING_FLAGS,
    mocoDim: { kind: "integer", min: 1, group: MOCO, help: "length of an embedding" },
    mocoK: {
      kind: "integer",
      min: 1,
      group: MOCO,
      help: "keys in the queue; a multiple of the batch size",
      brief: "keys in the queue; a multiple of the batch size",
    },
    mocoM: {
      kind: "number",
      min: 0,
      max: 1,
      group: MOCO,
      help: "share of its weights that the key encoder keeps at each step",
      brief: "momentum of the key encoder",
    },
    mocoT: {
      kind: "number",
      above: 0,
      group: MOCO,
      help: "softmax temperature",
      brief: "softmax temperature",
    },
    augPlus: {
      kind: "boolean",
      group: MOCO,
      help: "augment views as MoCo-v2 does, with blur and weaker colour jitter; as MoCo-v1 otherwise",
    },
    bnSplits: {
      kind: "integer",
      min: 1,
      group: MOCO,
      help:
        "groups of a batch, or of each rank's share of it, that batch norm normalises separately, with other groups for the " +
        "keys. Takes the place of shuffling over GPUs. At least 8 images a group",
    },
    ...EVALUATION_FLAGS,
    ...OTHER_FLAGS,
  } as const satisfies FlagTable;
}

/** Defaults of main_moco.py, whose own are those of MoCo-v1. */
const ORIGINAL_DEFAULTS: Readonly<Partial<Record<keyof PretrainDefaults, string>>> = {
  mocoT: "0.07",
  mlp: "off",
  augPlus: "off",
  cos: "off",
  seed: "none",
};

const DEFAULT_NOTES = describeDefaults<PretrainDefaults>(
  PRETRAIN_DEFAULTS,
  PRETRAIN_SAMPLE_DEFAULTS,
  ORIGINAL_DEFAULTS,
);

/** Says for `--help` what is the case where a flag is not given. */
export const PRETRAIN_DEFAULT_NOTES = {
  ...DEFAULT_NOTES,
  ...STEP_DEFAULT_NOTES,
  lr: withAdamW(DEFAULT_NOTES.lr, PRETRAIN_ADAMW.lr, PRETRAIN_SAMPLE_ADAMW.lr),
  weightDecay: withAdamW(DEFAULT_NOTES.weightDecay, PRETRAIN_ADAMW.weightDecay),
  lrPerStep: LR_PER_STEP_NOTE,
  warmupEpochs: withAdamW(
    DEFAULT_NOTES.warmupEpochs,
    PRETRAIN_ADAMW.warmupEpochs,
    PRETRAIN_SAMPLE_DEFAULTS.warmupEpochs,
  ),
  scaleLr: `${DEFAULT_NOTES.scaleLr}; with AdamW: on, off for the bundled sample`,
  dropPath: "default: 0, as in MoCo-v3",
  data: "default: the bundled images",
  testData:
    "default: test.tsv, val/ or similar in the folder of --data; without them, held-out labels of --data",
  output: "default: a new folder under output/",
  plugin: "default: none",
  arch: `${DEFAULT_NOTES.arch}; with --pretrained: the checkpoint's`,
  pretrained: "default: random weights",
  workers: `${DEFAULT_WORKERS_NOTE}; the original: 32`,
  stem: "default: imagenet",
  cache: CACHE_DEFAULT_NOTE,
  saveEvery: "default: the end of each epoch",
};

/** Flags of main_moco.py that have no place here. */
export const PRETRAIN_RETIRED: Readonly<Record<string, RetiredFlag>> = PROCESS_FLAGS;

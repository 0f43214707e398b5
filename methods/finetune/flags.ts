/** The flags of a fine-tuning: those of a linear evaluation where it has them, and SwAV's `eval_semisup.py`'s. */
import { DEFAULT_WORKERS_NOTE } from "../../actors/default_workers.ts";
import { VIEW_DEFAULT_NOTES } from "../encoder_views.ts";
import { describeDefaults, type FlagTable } from "../flag_table.ts";
import { linearFlags } from "../linear_probe/flags.ts";
import {
  CACHE_DEFAULT_NOTE,
  type EncoderNames,
  LR_PER_STEP_NOTE,
  STEP_DEFAULT_NOTES,
  STEP_FLAGS,
  WEIGHT_DECAY_FLAG,
  withAdamW,
} from "../shared_flags.ts";
import {
  FINETUNE_ADAMW,
  FINETUNE_DEFAULTS,
  FINETUNE_SAMPLE_DEFAULTS,
  type FinetuneDefaults,
} from "./options.ts";

/** Heading of `--help`. */
export const FINETUNING = "Fine-tuning";

/** What makes a fine-tuning of a linear evaluation, on the command line. */
export const FINETUNE_FLAG = {
  finetune: {
    kind: "boolean",
    group: FINETUNING,
    help:
      "train the encoder too, as SwAV's eval_semisup.py does, and not the classifier alone; --lr is one rate then, the " +
      "encoder's",
    brief: "train the encoder too, and not the classifier alone",
  },
} as const satisfies FlagTable;

/** The flags that a linear evaluation does not have. */
export const FINETUNE_ONLY = {
  lrLastLayer: {
    kind: "number",
    above: 0,
    group: FINETUNING,
    help: "with --finetune: learning rate of the classifier; --lr is the encoder's",
    brief: "learning rate of the classifier",
  },
  cos: {
    kind: "boolean",
    group: FINETUNING,
    help:
      "with --finetune: cosine schedule of both learning rates, down to 0, instead of --schedule and --gamma",
  },
  lrPerStep: {
    kind: "boolean",
    group: FINETUNING,
    help:
      "with --finetune: change both learning rates with every step, as DeiT and MAE do; the warm-up begins at 0, and the " +
      "cosine after it",
    brief: "change the learning rates with every step",
  },
  gamma: {
    kind: "number",
    above: 0,
    max: 1,
    group: FINETUNING,
    help: "with --finetune: what both learning rates are multiplied by at each epoch of --schedule",
  },
  optimizer: { ...STEP_FLAGS.optimizer, group: FINETUNING },
  dropPath: { ...STEP_FLAGS.dropPath, group: FINETUNING },
  accumulate: { ...STEP_FLAGS.accumulate, group: FINETUNING },
  clipGrad: { ...STEP_FLAGS.clipGrad, group: FINETUNING },
  statsEvery: { ...STEP_FLAGS.statsEvery, group: FINETUNING },
  onNan: { ...STEP_FLAGS.onNan, group: FINETUNING },
  syncBn: { ...STEP_FLAGS.syncBn, group: FINETUNING },
  compress: { ...STEP_FLAGS.compress, group: FINETUNING },
} as const satisfies FlagTable;

/** The flags of a linear evaluation that a fine-tuning does not have. */
export const LINEAR_ONLY = ["cacheFeatures"] as const;

/** The table of all of them. */
export function finetuneFlags(names: EncoderNames) {
  const { cacheFeatures: _, ...flags } = linearFlags(names);
  return {
    ...flags,
    lr: { ...flags.lr, kind: "number", help: "learning rate of the encoder" },
    weightDecay: WEIGHT_DECAY_FLAG,
    amp: { ...STEP_FLAGS.amp, group: FINETUNING },
    ...FINETUNE_ONLY,
  } as const satisfies FlagTable;
}

const DEFAULT_NOTES = describeDefaults<FinetuneDefaults>(FINETUNE_DEFAULTS, FINETUNE_SAMPLE_DEFAULTS, {});

/** Says for `--help` what is the case where a flag is not given. */
export const FINETUNE_DEFAULT_NOTES = {
  ...DEFAULT_NOTES,
  ...VIEW_DEFAULT_NOTES,
  ...STEP_DEFAULT_NOTES,
  lr: withAdamW(DEFAULT_NOTES.lr, FINETUNE_ADAMW.lr),
  lrLastLayer: withAdamW(DEFAULT_NOTES.lrLastLayer, FINETUNE_ADAMW.lrLastLayer),
  weightDecay: withAdamW(DEFAULT_NOTES.weightDecay, FINETUNE_ADAMW.weightDecay),
  lrPerStep: LR_PER_STEP_NOTE,
  warmupEpochs: withAdamW(
    DEFAULT_NOTES.warmupEpochs,
    FINETUNE_ADAMW.warmupEpochs,
    FINETUNE_SAMPLE_DEFAULTS.warmupEpochs,
  ),
  workers: DEFAULT_WORKERS_NOTE,
  cache: CACHE_DEFAULT_NOTE,
};

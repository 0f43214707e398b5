/** Options of a pretraining by MoCo, with the names of the original's flags. */
import type { EncoderTrainingOptions } from "../encoder_training/options.ts";

/** Options of a pretraining, with no field left to a default. Paths are absolute. */
export interface PretrainOptions extends EncoderTrainingOptions {
  /** Encoder that is pretrained: a name of the registry such as `resnet50`. */
  arch: string;
  /** Checkpoint that both encoders start from, where the run does not resume; `null` for random weights. */
  pretrained: string | null;
  /** Length of an embedding. */
  mocoDim: number;
  /** Keys in the queue (the paper's K); a multiple of `batchSize`. */
  mocoK: number;
  /** Share of its weights that the key encoder keeps at each step. */
  mocoM: number;
  /** Temperature of the softmax over similarities. */
  mocoT: number;
  /** Whether the head has two layers, as in MoCo-v2; one layer otherwise. */
  mlp: boolean;
  /** Whether views are augmented as in MoCo-v2, with blur and weaker colour jitter; as in MoCo-v1 otherwise. */
  augPlus: boolean;
  /** Groups of a batch that batch norm normalises separately, in place of MoCo's shuffling over GPUs; 1 for none. */
  bnSplits: number;
}

/** Returns the name of the augmentation. */
export function augmentationOf({ augPlus }: Pick<PretrainOptions, "augPlus">): string {
  return augPlus ? "mocov2" : "mocov1";
}

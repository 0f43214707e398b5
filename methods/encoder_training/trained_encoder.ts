/** What a run and its trainer both know of a method: the encoder that it trains, its queue, and how its checkpoints name them. */
import type { HeadOptions } from "../../models/heads.ts";
import type { CheckpointLayout } from "./checkpoint.ts";

/** An encoder that is trained. */
export interface TrainedEncoder {
  /** A name of the registry. */
  arch: string;
  /** What it ends in. */
  head: HeadOptions;
  /** Checkpoint that it starts from, where it does not resume; `null` for fresh weights. */
  init: string | null;
}

/** The queue of earlier embeddings that a batch is compared with. */
export interface QueueShape {
  /** Keys. */
  size: number;
  /** Whether local views have a queue of their own. */
  hasLocal: boolean;
}

/** The flags that errors speak of. */
export interface FlagsOfEncoder {
  arch: string;
  head: string;
  dimension: string;
  queue: string;
  /** Names the checkpoint that the encoder starts from; there is no such flag where this is left out. */
  init?: string;
}

/** What a run and its trainer both need to know of a method. */
export interface TrainedBy<Options> {
  /** What errors and notes call the encoder that is trained: `student`. */
  readonly noun: string;
  /** What they call the one beside it: `teacher`. */
  readonly besideNoun: string;
  /** Whether that one is trained too, as the same encoder: a run that is resumed goes on with it. Default: false. */
  readonly trainsBoth?: boolean;
  readonly layout: CheckpointLayout;
  readonly flags: FlagsOfEncoder;
  /** Returns the encoder that is trained. */
  encoder(options: Options): TrainedEncoder;
  /** Returns the queue. */
  queue(options: Options): QueueShape;
  /** Returns the name of the checkpoint in or after an epoch, from 0. */
  fileName(epoch: number, options: Options): string;
}

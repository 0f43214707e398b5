/** The messages of a trainer, whatever the method. */
import type { BatchNumber } from "../../actors/batch_number.ts";
import type { NamedValues, Profiled, Returning } from "../../actors/messages.ts";
import type { Message } from "../../actors/runtime/mod.ts";

/** The queue at some moment. */
export interface QueueContents {
  /** Keys [size, dimension], float32. */
  keys: Float32Array<ArrayBuffer>;
  /** Row that the next batch's first key replaces. */
  pointer: number;
  /** Keys of the small views likewise, in rows of the same numbers. */
  local?: Float32Array<ArrayBuffer>;
}

/** What a trainer has saved when it is asked to. */
export interface SavedTraining {
  /** Path of the checkpoint; `null` where none was written. */
  path: string | null;
  /** Batches trained on in the whole run. */
  step: number;
  /** Whether that is since nothing was trained yet; else one is written later, and the monitor is told. */
  isUntrained?: boolean;
}

/** Trains an encoder, by batches that reach it as its method has it. */
export type EncoderTrainer = Returning & Profiled & {
  /** The newest batch whose step is done, and where the next one's keys go. */
  progress: Message<void, { newest: BatchNumber; queuePointer: number }>;
  /** Parameters and running statistics. */
  weights: Message<void, NamedValues>;
  /**
   * Writes a checkpoint of where training is, and says where. Between batches that accumulate it is written after the last of
   * them, and the monitor is told; the path is `null` then. Before the first batch of a new run there is nothing to save. With
   * `ends`, no batch is trained on after it, so that what was told of and what the file has are the same.
   */
  save: Message<{ ends: boolean }, SavedTraining>;
  /** Tells of the next step in detail. */
  requestSnapshot: Message<void>;
};

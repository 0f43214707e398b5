/**
 * The messages of a distillation behind the teacher:
 *
 *     encoder (the teacher) -> queue_keeper -> student_trainer -> (buffers) -> tsv_reader
 */
import type { BatchNumber } from "../../actors/batch_number.ts";
import type { EmbeddedBatch, NamedValues, Profiled, Returning, Sink } from "../../actors/messages.ts";
import type { Message } from "../../actors/runtime/mod.ts";

/** queue_keeper to student_trainer: an embedded batch, and where its keys go in the queue. */
export interface KeyedBatch extends EmbeddedBatch {
  /** Row of the queue that the first key replaces. */
  queuePointer: number;
}

/** Contents of the queue. */
export interface QueueContents {
  /** Keys [size, dimension], float32. */
  keys: Float32Array<ArrayBuffer>;
  /** Row that the next batch's first key replaces. */
  pointer: number;
  /** Keys of the small views, in the same rows. */
  local?: Float32Array<ArrayBuffer>;
}

/** Assigns every batch its rows in the queue of earlier teacher embeddings, and passes it on. */
export type QueueKeeper = Sink;

/** Trains the student. */
export type StudentTrainer = Returning & Profiled & {
  /** One step. Replies to nobody: the monitor is told. */
  train: Message<KeyedBatch>;
  /** The newest batch whose step is done, and where the next one's keys go. */
  progress: Message<void, { newest: BatchNumber; queuePointer: number }>;
  /** Parameters and running statistics. */
  weights: Message<void, NamedValues>;
  /**
   * Writes a checkpoint of where training is, and says where. Between batches that accumulate it is written after the last
   * of them, and the monitor is told; `null` then.
   */
  save: Message<void, { path: string | null; step: number }>;
  /** Tells of the next step in detail. */
  requestSnapshot: Message<void>;
};

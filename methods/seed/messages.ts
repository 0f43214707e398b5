/**
 * The messages of a distillation behind the teacher:
 *
 *     encoder (the teacher) -> queue_keeper -> student_trainer -> (buffers) -> tsv_reader
 */
import type { EmbeddedBatch, Sink } from "../../actors/messages.ts";
import type { Message } from "../../actors/runtime/mod.ts";
import type { EncoderTrainer } from "../encoder_training/messages.ts";

/** queue_keeper to student_trainer: an embedded batch, and where its keys go in the queue. */
export interface KeyedBatch extends EmbeddedBatch {
  /** Row of the queue that the first key replaces. */
  queuePointer: number;
}

/** Assigns every batch its rows in the queue of earlier teacher embeddings, and passes it on. */
export type QueueKeeper = Sink;

/** Trains the student. */
export type StudentTrainer = EncoderTrainer & {
  /** One step. Replies to nobody: the monitor is told. */
  train: Message<KeyedBatch>;
};

/**
 * The messages of a fine-tuning behind the augmenters:
 *
 *     augmenter -> finetune_trainer -> (buffers) -> tsv_reader
 */
import type { Encoder, Profiled, Purpose, Returning } from "../../actors/messages.ts";
import type { Message } from "../../actors/runtime/mod.ts";
import type { ClassificationScore } from "../classification.ts";

/** A checkpoint. */
export interface WrittenCheckpoint {
  /** Where it is; `null` where there is none. */
  path: string | null;
  /** Batches of the run that are trained on. */
  step: number;
}

/** Trains an encoder with its classifier on views that are to be learnt from, and classifies queries. */
export type FinetuneTrainer = Encoder & Returning & Profiled & {
  /** Takes the weights of now for the queries that come from now on. */
  freeze: Message<void>;
  /** Waits until so many images of a purpose have come since the last reply, and says how they were classified. */
  finish: Message<{ purpose: Purpose; images: number }, ClassificationScore>;
  /**
   * The epoch that was trained last has been tested: its top-1, and the best one so far, in percent. Where it is better than the
   * best checkpoint (`isBest`), that is written.
   */
  note: Message<{ best: number; top1: number; isBest: boolean }>;
  /**
   * Writes a checkpoint of where training is, and says where, and after how many steps; `null` where nothing was trained.
   * Between batches that accumulate it is written after the last of them, and the monitor is told. With `ends`, no batch is
   * trained on after it.
   */
  save: Message<{ ends: boolean }, WrittenCheckpoint | "later">;
};

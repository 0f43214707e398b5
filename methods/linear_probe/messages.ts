/**
 * The messages of a linear evaluation behind the frozen encoder:
 *
 *     encoder -> linear_trainer -> (buffers) -> tsv_reader
 */
import type { Purpose, Returning, Sink } from "../../actors/messages.ts";
import type { Message } from "../../actors/runtime/mod.ts";
import type { ClassificationScore } from "../classification.ts";

/** Scores of one linear probe on some images. */
export type ProbeScore = ClassificationScore;

/** Trains linear probes, one per learning rate, in parallel. */
export type LinearTrainer = Sink & Returning & {
  /** Says how fast to learn from the images that come from now on: one learning rate a probe. */
  begin: Message<{ learningRates: number[] }>;
  /** Waits until so many images of a purpose have been consumed, says how the probes did on them, and counts anew. */
  finish: Message<{ purpose: Purpose; images: number }, ProbeScore[]>;
  /** Trains one epoch on the features that were kept, in an order of the epoch's own. */
  trainOnKept: Message<{ epoch: number; learningRates: number[] }, ProbeScore[]>;
  /** Classifies the queries' features that were kept. */
  evaluateKept: Message<void, ProbeScore[]>;
  /** Remembers where training is: an epoch is done. What `save` writes is this. */
  note: Message<LinearProgress>;
  /** Writes a checkpoint of what was noted last, and the best one where that has changed; says where the former is. */
  save: Message<void, { path: string | null }>;
};

/** Progress of a linear evaluation. */
export interface LinearProgress {
  /** Epochs done. */
  epoch: number;
  /** Best top-1 of each probe so far, in percent. */
  best: number[];
  /** Whether each probe has diverged; the weights of those are not kept. */
  diverged: boolean[];
  /** Top-1 of each probe on the test images after the last of them, in percent. */
  tested: number[];
  /** Index of the best probe, which a checkpoint saves. It has not diverged. */
  probe: number;
}

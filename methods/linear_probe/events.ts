/** What a linear evaluation tells. */
import type { EvaluationResize } from "../../actors/evaluation_resize.ts";
import type {
  ActorsEvent,
  CheckpointEvent,
  NoticeEvent,
  ProgressEvent,
  ReaderEvent,
} from "../../actors/events.ts";
import type { BatchPosition } from "../../actors/messages.ts";
import type { ProbeScore } from "./messages.ts";

/** What a linear evaluation is, known before the first step. */
export interface LinearPlan {
  /** Rows to learn from, broken ones included. */
  trainImages: number;
  /** Rows to classify, broken ones included. */
  testImages: number;
  /** Labels are 0 to classes - 1. */
  classes: number;
  /** Length of a feature. */
  features: number;
  /** The last one may be smaller. */
  batchesPerEpoch: number;
  /** Epochs that were done before. */
  firstEpoch: number;
  /** How images become views where no crop is drawn. */
  evalResize: EvaluationResize;
  /** What of the settings does not suit the data, in sentences for a person; see `methods/check_settings.ts`. */
  notes: readonly string[];
}

/** A step of a linear evaluation. */
export interface LinearStep {
  /** From 0. */
  epoch: number;
  /** From 1, over the whole run. */
  step: number;
  /** Of the first learning rate's classifier that has not diverged, on the batch before it learnt from it. */
  score: ProbeScore;
  /** That learning rate, after scaling. */
  lr: number;
}

/** How the classifiers did in an epoch. One of each a learning rate. */
export interface LinearEpoch {
  /** From 0. */
  epoch: number;
  /** Of this epoch, after scaling. */
  learningRates: readonly number[];
  /** On the images that were learnt from, while they were; empty where the run only evaluates. */
  trained: readonly ProbeScore[];
  /** On the test images. */
  tested: readonly ProbeScore[];
  /** Which classifiers have diverged, in this epoch or before: a loss of theirs was not finite. */
  diverged: readonly boolean[];
}

/** What a linear evaluation tells. */
export type LinearEvent =
  | NoticeEvent
  /** The files are open and fit each other; actors start now. */
  | ({ type: "plan" } & LinearPlan)
  | ActorsEvent
  | CheckpointEvent
  | ProgressEvent
  /** A step is done. */
  | ({ type: "step" } & LinearStep)
  /** An epoch is done, and the test images are classified. */
  | ({ type: "epoch" } & LinearEpoch);

/** What the actors of a linear evaluation tell the run. */
export type LinearActorEvent =
  | ReaderEvent
  /** So many images more have come that are not trained on. */
  | { type: "came"; images: number }
  /** A step is done: how each probe did on the batch before it, and its learning rate. */
  | ({ type: "batch" } & BatchPosition & { scores: ProbeScore[]; learningRates: number[] });

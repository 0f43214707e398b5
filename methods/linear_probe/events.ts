/** Events of a linear evaluation. */
import type { EvaluationResize } from "../../actors/evaluation_resize.ts";
import type { ReaderEvent, TrainingEvents } from "../../actors/events.ts";
import type { BatchPosition } from "../../actors/messages.ts";
import type { ProbeScore } from "./messages.ts";

/** Size of a linear evaluation, known before the first step. */
export interface LinearPlan {
  /** Training rows, including broken ones. */
  trainImages: number;
  /** Numbers of these rows, from 0, ascending, where they are a share of the data (`labelFraction`). */
  rows?: readonly number[];
  /** Test rows, including broken ones. */
  testImages: number;
  /** Number of classes; labels are 0 to classes - 1. */
  classes: number;
  /** Length of a feature. */
  features: number;
  /** Batches per epoch; the last may be smaller. */
  batchesPerEpoch: number;
  /** Steps that epochs of another batch size had more, or fewer if below 0; left out where there are none. */
  extraSteps?: number;
  /** Epochs done before this start. */
  firstEpoch: number;
  /** How images are resized where no random crop is taken. */
  evalResize: EvaluationResize;
  /** Where decoded images are kept, for people. */
  cache: string;
  /** Notes on settings that do not suit the data; see `methods/check_settings.ts`. */
  notes: readonly string[];
}

/** A step of a linear evaluation. */
export interface LinearStep {
  /** Epoch, from 0. */
  epoch: number;
  /** Step, from 1, over the whole run. */
  step: number;
  /** Score on the batch, before its update, of the first classifier that has not diverged. */
  score: ProbeScore;
  /** Learning rate of that classifier, after scaling. */
  lr: number;
}

/** Scores of an epoch, one per learning rate; of one that has diverged the loss is NaN, top-1 and top-5 are 0. */
export interface LinearEpoch {
  /** Epoch, from 0. */
  epoch: number;
  /** Learning rates of this epoch, after scaling; empty if the run only evaluates. */
  learningRates: readonly number[];
  /** Scores on the training images, during training; empty if the run only evaluates. */
  trained: readonly ProbeScore[];
  /** Scores on the test images. */
  tested: readonly ProbeScore[];
  /** Whether each classifier has diverged, in this epoch or before: one of its losses was not finite. */
  diverged: readonly boolean[];
  /** Index of the best classifier so far; if the run only evaluates, of the one that the result is of, see `LinearResult`. */
  chosen: number;
}

/** Events of a linear evaluation. */
export type LinearEvent =
  | TrainingEvents
  /** The files are open and fit each other; actors start now. */
  | ({ type: "plan" } & LinearPlan)
  /** A step is done. */
  | ({ type: "step" } & LinearStep)
  /** An epoch is done, and the test images are classified. */
  | ({ type: "epoch" } & LinearEpoch);

/** Events that the actors of a linear evaluation send to the run. */
export type LinearActorEvent =
  | ReaderEvent
  /** So many images more have come that are not trained on. */
  | { type: "came"; images: number }
  /** A step is done: how each probe did on the batch before it, and its learning rate. */
  | ({ type: "batch" } & BatchPosition & { scores: ProbeScore[]; learningRates: number[] });

/** What a fine-tuning tells. */
import type { ReaderEvent, TraceEvents, TrainingEvents, WarningEvent } from "../../actors/events.ts";
import type { LossScale } from "../../kernels/ops/loss_scale/loss_scale.ts";
import type { ClassificationScore } from "../classification.ts";
import type { StatsEvent } from "../encoder_training/events.ts";
import type { LinearPlan } from "../linear_probe/events.ts";
import type { ProfileEvent } from "../watched_actors.ts";
import type { WrittenCheckpoint } from "./messages.ts";
import type { LearningRates } from "./options.ts";

/** What a fine-tuning is, known before the first step. Of an epoch's images those that fill no batch are left out. */
export interface FinetunePlan extends LinearPlan {
  /** Steps that were done before. */
  firstStep: number;
  /** Whether the test images are classified first: the run was stopped before the epoch that was trained last was tested. */
  testsFirst: boolean;
}

/** A step of a fine-tuning. */
export interface FinetuneStep extends LearningRates {
  /** From 0. */
  epoch: number;
  /** From 1, over the whole run. */
  step: number;
  /** Of the batch, before it was learnt from. */
  score: ClassificationScore;
  /** Of mixed precision or of steps that may be skipped, after the step. */
  lossScale?: LossScale;
}

/** How the classifier did in an epoch. */
export interface FinetuneEpoch extends LearningRates {
  /** From 0. */
  epoch: number;
  /** Whether only some of its steps are done: what is evaluated was saved within it. */
  isPartial?: true;
  /** On the images that were learnt from, while they were; `null` where the run only evaluates. */
  trained: ClassificationScore | null;
  /** On the test images, after those steps. */
  tested: ClassificationScore;
  /** Best top-1 on them so far, in percent. */
  best: number;
}

/** What a fine-tuning tells. */
export type FinetuneEvent =
  | TrainingEvents
  /** The files are open and fit each other; actors start now. */
  | ({ type: "plan" } & FinetunePlan)
  /** A step is done. */
  | ({ type: "step" } & FinetuneStep)
  | StatsEvent
  | TraceEvents
  | ProfileEvent
  /** An epoch is done, and the test images are classified. */
  | ({ type: "epoch" } & FinetuneEpoch);

/** What the actors of a fine-tuning tell the run. */
export type FinetuneActorEvent =
  | ReaderEvent
  | WarningEvent
  /** So many images more have come that are not trained on. */
  | { type: "came"; images: number }
  /** A checkpoint that was to be written after a step or a test has been; with `ends`, none is trained on after it. */
  | ({ type: "saved"; ends: boolean } & WrittenCheckpoint)
  | StatsEvent
  | ({ type: "step" } & FinetuneStep);

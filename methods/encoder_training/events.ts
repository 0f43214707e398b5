/** Events of a training. */
import type { ProbeSetEvents } from "../../actors/diagnostics.ts";
import type { EvaluationResize } from "../../actors/evaluation_resize.ts";
import type { ReaderEvent, TraceEvents, TrainingEvents, ViewsEvent } from "../../actors/events.ts";
import type { Accuracy, BatchPosition, NamedValues, ViewSample } from "../../actors/messages.ts";
import type { LossScale } from "../../kernels/ops/loss_scale/loss_scale.ts";
import type { StepStats } from "../../models/step_stats.ts";
import type { SimilarityMap } from "../../models/similarity_map.ts";
import type { ProfileEvent } from "../watched_actors.ts";

/** Images of a kNN evaluation. */
export interface PlannedKnn {
  /** Images that vote. */
  bank: number;
  /** Images that are classified. */
  queries: number;
  /** Whether both are training images: there is no test set, and the labels of some images are held out. */
  heldOut: boolean;
}

/** Size of a run, known before the first step. */
export interface EncoderTrainingPlan {
  /** Training rows, including broken ones. */
  images: number;
  /** Batches per epoch, without an incomplete last one. */
  batchesPerEpoch: number;
  /** Steps of the whole run, including those done before a resume. */
  totalSteps: number;
  /** Steps done before this start. */
  firstStep: number;
  /** Steps that epochs of another batch size had more, or fewer if below 0; left out where there are none. */
  extraSteps?: number;
  /** How images are resized for evaluation. */
  evalResize: EvaluationResize;
  /** Images of a kNN evaluation, including broken ones; `null` if there is none. */
  knn: PlannedKnn | null;
  /** Where decoded images are kept, in words. */
  cache: string;
  /** Notes on settings that do not suit the data; see `methods/check_settings.ts`. */
  notes: readonly string[];
}

/** A step of a training. */
export interface EncoderTrainingStep {
  /** Epoch, from 0. */
  epoch: number;
  /** Step, from 1, over the whole run. */
  step: number;
  /** Loss of the batch. */
  loss: number;
  /** The learning rate. */
  lr: number;
  /** State of loss scaling after the step, if it is used. */
  lossScale?: LossScale;
}

/** Statistics of a training step, reported every `statsEvery` batches. */
export interface EncoderTrainingStats extends StepStats {
  /** Epoch, from 0. */
  epoch: number;
  /** Step, from 1, over the whole run. */
  step: number;
  /** Device memory of the trainer, in bytes: buffers and textures. */
  deviceBytes: number;
  /** Memory of the whole process (resident set), in bytes. */
  processBytes: number;
}

/** What a step tells of itself, every `statsEvery` batches. */
export interface StatsEvent extends EncoderTrainingStats {
  /** Type of the event. */
  type: "stats";
}

/** A snapshot of a training step. */
export interface TrainingSnapshot extends BatchPosition {
  /** Step, from 1, over the whole run. */
  step: number;
  /** The batch's first views as the trained encoder sees them. */
  views: ViewSample;
  /** Similarities to the queue of the trained encoder (student) and of the one beside it (teacher), for the first of these views. */
  similarities: SimilarityMap;
}

/** Events of a training. */
export type EncoderTrainingEvent =
  | TrainingEvents
  /** The files are open and fit each other; actors start now. */
  | ({ type: "plan" } & EncoderTrainingPlan)
  /** A step is done. */
  | ({ type: "step" } & EncoderTrainingStep)
  | StatsEvent
  | ViewsEvent
  /** A snapshot of a step: views, and its encoders' similarities to the queue. */
  | ({ type: "snapshot" } & TrainingSnapshot)
  | ProbeSetEvents
  /** An encoder was evaluated after `step` steps: the trained one (`student`) or its teacher. */
  | ({ type: "knn"; of: "teacher" | "student"; step: number } & Accuracy)
  | TraceEvents
  | ProfileEvent;

/** A checkpoint has been written, at the end of an epoch or within one. Has `weights` if an evaluation is due. */
export interface SavedEvent {
  /** Type of the event. */
  type: "saved";
  /** Epoch, from 0. */
  epoch: number;
  /** Whether it is at the end of an epoch. */
  endsEpoch: boolean;
  /** Path of the checkpoint. */
  path: string;
  /** Whether training ends with it, since a rank of the run was stopped. */
  ends: boolean;
  /** Parameters and running statistics of the encoder. */
  weights?: NamedValues;
}

/** Events that the actors of a training send to the run, which emits all but the last two unchanged. */
export type TrainerEvent =
  | Extract<EncoderTrainingEvent, { type: "step" | "stats" | "views" | "snapshot" | "warning" }>
  | SavedEvent
  | ReaderEvent;

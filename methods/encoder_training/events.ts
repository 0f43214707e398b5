/** What a training of an encoder tells. */
import type { ProbeSetEvents } from "../../actors/diagnostics.ts";
import type { EvaluationResize } from "../../actors/evaluation_resize.ts";
import type {
  ActorsEvent,
  CheckpointEvent,
  NoticeEvent,
  ProgressEvent,
  ReaderEvent,
  TraceEvents,
  ViewsEvent,
} from "../../actors/events.ts";
import type { Accuracy, BatchPosition, NamedValues, ViewSample } from "../../actors/messages.ts";
import type { RunProfile } from "../../actors/run_profile.ts";
import type { LossScale } from "../../kernels/ops/loss_scale/loss_scale.ts";
import type { StepStats } from "../../models/step_stats.ts";
import type { SimilarityMap } from "../../models/similarity_map.ts";

/** What a run is, known before the first step. */
export interface EncoderTrainingPlan {
  /** Rows to learn from, broken ones included. */
  images: number;
  /** Batches of an epoch; the images that do not fill one are left out. */
  batchesPerEpoch: number;
  /** Steps of the whole run, those done before included. */
  totalSteps: number;
  /** Steps that were done before. */
  firstStep: number;
  /** How images become views in the evaluations. */
  evalResize: EvaluationResize;
}

/** A step of a training. */
export interface EncoderTrainingStep {
  /** From 0. */
  epoch: number;
  /** From 1, over the whole run. */
  step: number;
  /** The loss of the batch. */
  loss: number;
  /** The learning rate. */
  lr: number;
  /** Of mixed precision, after the step. */
  lossScale?: LossScale;
}

/** What a training step tells of itself, every `statsEvery` batches. */
export interface EncoderTrainingStats extends StepStats {
  /** From 0. */
  epoch: number;
  /** From 1, over the whole run. */
  step: number;
  /** Memory that the trainer has on its device: buffers and textures. */
  deviceBytes: number;
  /** Memory of the whole process (resident set). */
  processBytes: number;
}

/** A snapshot of a training step. */
export interface TrainingSnapshot extends BatchPosition {
  /** From 1, over the whole run. */
  step: number;
  /** The batch's first views as the encoder sees them. */
  views: ViewSample;
  /** What the trained encoder (the student) and the one beside it (the teacher) make of the queue for the first of them. */
  similarities: SimilarityMap;
}

/** What a training of an encoder tells. */
export type EncoderTrainingEvent =
  | NoticeEvent
  /** The files are open and fit each other; actors start now. */
  | ({ type: "plan" } & EncoderTrainingPlan)
  | ActorsEvent
  | CheckpointEvent
  | ProgressEvent
  /** A step is done. */
  | ({ type: "step" } & EncoderTrainingStep)
  /** What a step tells of itself, every `statsEvery` batches. */
  | ({ type: "stats" } & EncoderTrainingStats)
  | ViewsEvent
  /** A snapshot of a step: views, and what its encoders make of the queue. */
  | ({ type: "snapshot" } & TrainingSnapshot)
  | ProbeSetEvents
  /** An encoder was evaluated: the trained one (`student`) or the one it learns from; `step` says after how many steps. */
  | ({ type: "knn"; of: "teacher" | "student"; step: number } & Accuracy)
  | TraceEvents
  /** Where the time went; where this is asked for. */
  | ({ type: "profile" } & RunProfile);

/** A checkpoint is written: of a whole epoch or within one. `weights` come along where an evaluation is due. */
export interface SavedEvent {
  /** Tells events apart. */
  type: "saved";
  /** From 0. */
  epoch: number;
  /** Whether it is of a whole epoch. */
  endsEpoch: boolean;
  /** The checkpoint's file. */
  path: string;
  /** Parameters and running statistics of the encoder. */
  weights?: NamedValues;
}

/** What the actors of a training tell the run; all but the last two go on as they are. */
export type TrainerEvent =
  | Extract<EncoderTrainingEvent, { type: "step" | "stats" | "views" | "snapshot" | "warning" }>
  | SavedEvent
  | ReaderEvent;

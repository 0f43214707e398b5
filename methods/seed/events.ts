/** What a distillation tells. */
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
export interface DistillPlan {
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
  /** What of the settings does not suit the data, in sentences for a person; see `methods/check_settings.ts`. */
  notes: readonly string[];
}

/** A step of a distillation. */
export interface DistillStep {
  /** From 0. */
  epoch: number;
  /** From 1, over the whole run. */
  step: number;
  /** SEED's loss of the batch. */
  loss: number;
  /** The learning rate. */
  lr: number;
  /** Of mixed precision, after the step. */
  lossScale?: LossScale;
}

/** What a training step tells of itself, every `statsEvery` batches. */
export interface DistillStats extends StepStats {
  /** From 0. */
  epoch: number;
  /** From 1, over the whole run. */
  step: number;
  /** Memory that the student's trainer has on its device: buffers and textures. */
  deviceBytes: number;
  /** Memory of the whole process (resident set). */
  processBytes: number;
}

/** A snapshot of a training step. */
export interface TrainingSnapshot extends BatchPosition {
  /** From 1, over the whole run. */
  step: number;
  /** The batch's first views as the student sees them. */
  views: ViewSample;
  /** What teacher and student make of the queue for the first of them. */
  similarities: SimilarityMap;
}

/** What a distillation tells. */
export type DistillEvent =
  | NoticeEvent
  /** The files are open and fit each other; actors start now. */
  | ({ type: "plan" } & DistillPlan)
  | ActorsEvent
  | CheckpointEvent
  | ProgressEvent
  /** A step is done. */
  | ({ type: "step" } & DistillStep)
  /** What a step tells of itself, every `statsEvery` batches. */
  | ({ type: "stats" } & DistillStats)
  | ViewsEvent
  /** A snapshot of a step: views, and what teacher and student make of the queue. */
  | ({ type: "snapshot" } & TrainingSnapshot)
  | ProbeSetEvents
  /** Teacher or student was evaluated; `step` says for how many steps the student had been trained. */
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
  /** Parameters and running statistics of the student. */
  weights?: NamedValues;
}

/** What the actors of a distillation tell the run; all but the last two go on as they are. */
export type DistillActorEvent =
  | Extract<DistillEvent, { type: "step" | "stats" | "views" | "snapshot" | "warning" }>
  | SavedEvent
  | ReaderEvent;

/**
 * What a run leaves in its folder for people to look at: written while it runs, read by the live page, the report and the
 * comparison, which need nothing else. Types alone, so that the page may have them too.
 */
import type { SimilarityMap } from "../models/similarity_map.ts";

/** How a run stands. */
export type RunStatus = "running" | "finished" | "interrupted" | "failed";

/** `run.json`: what the run is, and what came of it. Written when it starts and when it ends. */
export interface RunRecord {
  /** `distill` or `lincls`. */
  task: string;
  status: RunStatus;
  /** What went wrong, where something did. */
  error?: string;
  /** The command line that does the same, from the project's folder; with `INIT_CWD`, where its paths are meant from another. */
  command: string;
  /** When it was started, and when it ended: ISO 8601, UTC. */
  started_at: string;
  ended_at?: string;
  /** How long it took, since it was started. */
  seconds?: number;
  /** Of a run that was resumed: when it first began, and how long its earlier starts took, in seconds. */
  before?: { started_at: string; seconds: number };
  /** Of this program, of Deno and of what is in it. */
  versions: Record<string, string>;
  /** Adapter, processor cores, memory, system. */
  hardware: Record<string, string>;
  /** What it reads: paths, and fingerprints by which the same data is known again. */
  inputs: RunInput[];
  /**
   * Images and steps of an epoch, steps of the whole run, those done before it was resumed, and those that epochs of another
   * batch size had more, or fewer if below 0. Where an encoder is trained also the images of an evaluation by kNN: those that
   * vote and those that are classified; `null` where there is none.
   */
  plan?: {
    images: number;
    steps_per_epoch: number;
    total_steps: number;
    first_step: number;
    extra_steps?: number;
    epochs: number;
    knn?: { bank: number; queries: number; held_out: boolean } | null;
  };
  /** Figures that came of it, by name, in the order in which they are to be shown. */
  results?: RunFigure[];
}

/** An evaluation whose folder lies in that of the run. */
export interface EvaluationRecord {
  /** Of the folder. */
  name: string;
  record: RunRecord;
}

/** Something that a run reads. */
export interface RunInput {
  /** What it is for: `images`, `test images`, `teacher`. */
  role: string;
  path: string;
  /** SHA-256, hexadecimal: of a file's bytes, or of some rows spread over images and their number. */
  fingerprint?: string;
}

/** A figure that a run ends with. */
export interface RunFigure {
  name: string;
  /** `null` where it was not finite, e.g. the mean loss of an epoch whose steps were all skipped. */
  value: number | null;
  /** How it is written: `%`, `s`, or nothing. */
  unit: string;
}

/** A row of `metrics.jsonl`. */
export interface MetricsRow {
  /** From 0. */
  epoch: number;
  /** Steps done in the whole run, this one among them. */
  step: number;
  /** `null` where it was not finite. */
  loss: number | null;
  lr: number;
  /** Images in a second, a moving average over 30 seconds; `null` until it is of a second at least. */
  images_per_second: number | null;
  /** When it was done: seconds since 1970, UTC. */
  time?: number;
  /** What mixed precision multiplies the loss by, after this step. */
  loss_scale?: number;
  /** Steps that were skipped so far since a gradient overflowed in float16. */
  skipped_steps?: number;
}

/** A row of `scores.jsonl`: teacher or student was evaluated. */
export interface ScoreRow {
  of: "teacher" | "student";
  /** Weighted kNN, a linear classifier, or one with which the encoder was trained too. */
  by: "knn" | "linear" | "finetune";
  /** Steps that the student had been trained for. */
  step: number;
  /** In percent. */
  top1: number;
  top5: number;
  /** Learning rate of the linear classifier, where several are trained side by side. */
  lr?: number;
  /** Whether training images with held-out labels were classified, as there is no test set. */
  held_out?: boolean;
}

/** A row of `stats.jsonl`: measurements of a training step, every `stats_every` batches. */
export interface StatsRow {
  epoch: number;
  step: number;
  /** When: seconds since 1970, UTC. */
  time: number;
  /** L2 norms of the step's gradient by group of layers; `null` where they are not finite. */
  gradient_norms: Record<string, number | null>;
  /** L2 norms of the weights before the step, by group of layers. */
  weight_norms: Record<string, number | null>;
  /** How long the device took for the step, where the adapter has timestamps and the run has one rank. */
  device_seconds?: number;
  /** Memory that the trainer has on its device. */
  device_bytes: number;
  /** Memory of the whole process. */
  process_bytes: number;
}

/** Which of a run's processes tells of its actors. */
export interface RankRecord {
  /** Its number, from 0, and how many there are. */
  rank: number;
  size: number;
  /** Names of its machine and of its adapter. */
  host: string;
  adapter: string;
  /** Of its share of the batches, a moving average over 30 seconds; `null` until it is of a second at least. */
  images_per_second: number | null;
}

/**
 * `actors.json`, and of ranks beside the first `actors_rank1.json` and so on: how the actors stand; replaced every two seconds,
 * and when the run ends.
 */
export interface ActorsRecord {
  /** ISO 8601, UTC. */
  at: string;
  /** Where the run has several processes. */
  rank?: RankRecord;
  /** How long the run will take yet, its evaluations too, in seconds; only of one that runs, as soon as it is known. */
  seconds_left?: number;
  actors: ActorRecord[];
}

/** The actors of a rank beside the first one. */
export type RankActorsRecord = ActorsRecord & { rank: RankRecord };

/** How one actor stands. Shares are of the time since the record before, from 0 to 1. */
export interface ActorRecord {
  name: string;
  /** In a handler, computing or waiting for a file or the GPU. */
  busy: number;
  /** In a handler, waiting for another actor. */
  waiting: number;
  /** The same since the actor was ready. */
  busyOverall: number;
  waitingOverall: number;
  /** Since it was ready, in seconds: what the shares of the whole are of. Records of earlier versions have none. */
  seconds?: number;
  /** Messages that wait in its mailbox. */
  mailbox: number;
  /** Messages that it has handled. */
  handled: number;
  /** Those that it sends to: messages that it may send at once, and that wait for a credit. */
  links: { to: string; credits: number; queued: number }[];
}

/** Square images in one, row by row. */
export interface Sprite {
  /** A `data:` URL. */
  url: string;
  /** How many there are, and in a row. */
  count: number;
  columns: number;
}

/** `insight/look.json`: a snapshot of a step. */
export interface SnapshotRecord {
  step: number;
  /** The batch's first views, as the student sees them. */
  views: Sprite;
  /** What teacher and student make of the queue for the first of them; in a pretraining, key encoder and query encoder. */
  similarities: SimilarityMap;
}

/** `insight/gallery.json`: the probe set, the images that encoders are compared by. */
export interface ProbeSetRecord {
  data: string;
  rows: number[];
  labels: number[];
  classNames?: readonly string[];
  views: Sprite;
}

/** `insight/teacher.json`, `insight/before.json`, `insight/student.json`: their nearest neighbours in the probe set. */
export interface NeighboursRecord {
  /** Steps that the student had been trained for. */
  step: number;
  /** Neighbours of each image. */
  k: number;
  /** Places in the probe set [n, k], the nearest first. */
  neighbours: number[];
  /** Cosines [n, k]. */
  similarities: number[];
  /** Points of a plane [n, 2]. */
  pca: number[];
  umap: number[] | null;
}

/** What is in `insight/`, by file name without `.json`. */
export interface DiagnosticsRecords {
  look: SnapshotRecord;
  gallery: ProbeSetRecord;
  teacher: NeighboursRecord;
  before: NeighboursRecord;
  student: NeighboursRecord;
}

/** A step as the page has it; of a long run, the mean of some steps. */
export type CurvePoint = [
  step: number,
  loss: number | null,
  lr: number,
  imagesPerSecond: number | null,
  /** When it was done: seconds since 1970, UTC; `null` where that was not recorded. */
  time: number | null,
];

/**
 * What the page is told, and a report holds. `run` is the number of the run, from 0; `now` is when a live page is told, in ms
 * since 1970, by the clock of the machine that tells it.
 */
export type PageMessage =
  | {
    kind: "runs";
    names: string[];
    isLive: boolean;
    now?: number;
    /** Whether all there is follows, so that what was told before no longer counts; otherwise runs may have been added. */
    begins?: boolean;
  }
  | { kind: "record"; run: number; record: RunRecord }
  | { kind: "config"; run: number; config: Record<string, unknown> }
  | { kind: "evaluations"; run: number; evaluations: EvaluationRecord[] }
  | { kind: "metrics"; run: number; reset: boolean; points: CurvePoint[]; last: MetricsRow | null }
  | { kind: "scores"; run: number; reset: boolean; rows: ScoreRow[] }
  | { kind: "stats"; run: number; reset: boolean; rows: StatsRow[] }
  | { kind: "actors"; run: number; record: ActorsRecord }
  | { kind: "rank"; run: number; record: RankActorsRecord }
  | {
    kind: "diagnostics";
    run: number;
    name: keyof DiagnosticsRecords;
    value: DiagnosticsRecords[keyof DiagnosticsRecords];
  }
  /** What was told of is no longer there: the run was removed, and another one may begin in its folder. */
  | { kind: "gone"; run: number; name: "record" | "config" | "actors" | keyof DiagnosticsRecords }
  | { kind: "gone"; run: number; name: "rank"; rank: number };

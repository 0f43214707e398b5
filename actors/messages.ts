/**
 * Every message that crosses a Worker's wall, in the order of the pipeline:
 *
 *     tsv_reader -> augmenter -> teacher_encoder -> queue_keeper -> student_trainer -> (buffers) -> tsv_reader
 *     tsv_reader -> augmenter -> evaluator -> (buffers) -> tsv_reader
 *     tsv_reader -> augmenter -> feature_encoder -> linear_trainer -> (buffers) -> tsv_reader
 *
 * A batch travels with all the buffers that it will need on its way. Each role fills its own and passes the rest on;
 * the last one sends them back to the reader they came from, so that in a steady state nothing is allocated.
 */
import type { LossScale } from "../kernels/ops/loss_scale/loss_scale.ts";
import type { PackedPictures } from "../data/pack.ts";
import type { KernelTime } from "../kernels/profiler.ts";
import type { EncoderRole } from "../models/registry.ts";
import type { SimilarityPicture } from "../models/similarity_picture.ts";
import type { BatchNumber } from "./batch_number.ts";
import type { ActorRef, Message } from "./runtime/mod.ts";

/** The buffers of a batch. */
export interface BatchBuffers {
  /** Packed pictures and their table, as decoded; grows with the largest batch. */
  pictures: ArrayBuffer;
  /** Views, RGBA8 [batch, size, size]. */
  views: ArrayBuffer;
  /** Teacher embeddings, float32 [batch, dimension]. */
  embeddings: ArrayBuffer;
  /** Where pictures have small views too. */
  small?: SmallViewBuffers;
}

/** The buffers of a batch's small views; those of a picture follow each other. */
export interface SmallViewBuffers {
  /** RGBA8 [batch * views, size, size]. */
  views: ArrayBuffer;
  /** Teacher embeddings, float32 [batch * views, dimension]. */
  embeddings: ArrayBuffer;
}

/** Where in the run a batch stands. */
export interface BatchPosition extends BatchNumber {
  /** Whether it is the epoch's last. */
  endsEpoch: boolean;
}

/** What all stages pass on. */
export interface Travelling {
  /** Where the batch stands. */
  position: BatchPosition;
  /** Name of the reader that the buffers go back to. */
  home: string;
  /** Whether the pictures are to be learnt from, or are the bank or the queries of an evaluation. */
  purpose: Purpose;
}

/** What a reader's pictures are for. */
export type Purpose = "train" | "bank" | "queries" | "gallery";

/** tsv_reader to augmenter: decoded pictures. */
export interface DecodedBatch extends Travelling, Omit<BatchBuffers, "pictures"> {
  /** Table and pixels, in the buffer that is `pictures` of {@linkcode BatchBuffers}. */
  pictures: PackedPictures;
}

/** augmenter to teacher_encoder or evaluator: the same, `views` filled. */
export type ViewBatch = DecodedBatch;

/** teacher_encoder to queue_keeper: the same, `embeddings` filled with L2-normalised rows. */
export type EmbeddedBatch = ViewBatch;

/** queue_keeper to student_trainer: the same, and where its keys go in the ring. */
export interface KeyedBatch extends EmbeddedBatch {
  /** Row of the queue that the first key replaces. */
  queuePointer: number;
}

/** The queue at some moment. */
export interface QueueContents {
  /** Keys [size, dimension], float32. */
  keys: Float32Array<ArrayBuffer>;
  /** Row that the next batch's first key replaces. */
  pointer: number;
  /** Keys of the small views likewise, in rows of the same numbers. */
  small?: Float32Array<ArrayBuffer>;
}

/** A state_dict's values by key, in PyTorch's layout. */
export type NamedValues = [key: string, values: Float32Array<ArrayBuffer>][];

/** Reads and decodes rows of a TSV file. */
export type TsvReader = {
  /** Says where the pictures go. */
  connect: Message<{ augmenter: ActorRef<Augmenter> }>;
  /**
   * Sends this reader's share of the batches `firstBatch` up to (not including) `endBatch` of an epoch, all by
   * default. Replies when they are sent, with the number of pictures.
   */
  read: Message<{ epoch: number; firstBatch?: number; endBatch?: number }, { pictures: number }>;
  /** Gives back a batch's buffers. */
  recycle: Message<BatchBuffers>;
};

/** How long the kernels of a program take, one by one on an idle device. */
export interface ProgramProfile {
  /** What the program does. */
  program: string;
  /** One entry a dispatch, in their order. */
  kernels: KernelTime[];
}

/** What an actor with programs on a device can be asked when nothing else is under way. */
export type Profiled = {
  /** Runs each program some times more. Weights that it trains are no longer those that were saved. */
  profile: Message<void, ProgramProfile[]>;
};

/** Makes views. */
export type Augmenter = Profiled & {
  /** Fills `views`, and passes the batch on. */
  augment: Message<DecodedBatch>;
};

/** Takes views: the teacher encoder in training, the evaluator in an evaluation. */
export type Encoder = {
  /** Embeds the views. */
  encode: Message<ViewBatch>;
};

/** Embeds views with the frozen teacher. */
export type TeacherEncoder = Encoder & Profiled;

/** Owns the queue of earlier teacher embeddings. */
export type QueueKeeper = {
  /** Takes a batch's keys in, and passes the batch on. */
  enqueue: Message<EmbeddedBatch>;
  /** The queue as it is. */
  contents: Message<void, QueueContents>;
};

/** A look into a training step. */
export interface TrainingLook extends BatchPosition {
  /** The batch's first views as the student sees them. */
  views: ViewSample;
  /** What teacher and student make of the queue for the first of them. */
  similarities: SimilarityPicture;
}

/** Trains the student. */
export type StudentTrainer = Profiled & {
  /** Says whom the buffers go back to; again after a restart. */
  connect: Message<{ readers: ActorRef<TsvReader>[] }>;
  /** The newest batch that was trained on, and the queue after it. */
  standing: Message<void, { newest: BatchNumber; queue: QueueContents }>;
  /** One step. Replies to nobody: the monitor is told. */
  train: Message<KeyedBatch>;
  /** Parameters and running statistics. */
  weights: Message<void, NamedValues>;
  /** Writes a checkpoint of where training is, and says where. */
  save: Message<void, { path: string }>;
  /** Lets the monitor have a look into the next step. */
  look: Message<void>;
};

/** Draws maps of features. */
export type Cartographer = {
  /**
   * Features [n, dimension] as points of a plane, float32 [n, 2]: by principal components and by UMAP, which takes four at
   * least.
   */
  draw: Message<
    { features: Float32Array<ArrayBuffer>; dimension: number; seed: number },
    { pca: Float32Array<ArrayBuffer>; umap: Float32Array<ArrayBuffer> | null }
  >;
};

/** How many queries were classified rightly, in percent. */
export interface Accuracy {
  /** Queries whose label came first. */
  top1: number;
  /** Queries whose label was among the first five. */
  top5: number;
}

/** What an evaluator is to embed with. */
export type EvaluatedEncoder =
  /** A checkpoint file; `which` of a distillation's. */
  | { arch: string; path: string; which?: EncoderRole }
  /** Fresh weights. */
  | { arch: string; seed: number }
  /** Values, with a head of which nothing is used. */
  | { arch: string; values: NamedValues };

/** What an encoder finds alike in a gallery of pictures. */
export interface Survey {
  /** Rows of the data that the pictures are, n of them, in an order that is the same for all encoders. */
  rows: number[];
  /** Their labels; -1 where there are none. */
  labels: number[];
  /** Pooled features [n, dimension]. */
  features: Float32Array<ArrayBuffer>;
  /** Length of a feature. */
  dimension: number;
  /** Places in `rows` of each picture's nearest neighbours [n, k], the nearest first, itself left out. */
  neighbours: Uint32Array<ArrayBuffer>;
  /** Cosines of their features with the picture's [n, k]. */
  similarities: Float32Array<ArrayBuffer>;
  /** Neighbours of each: as many as were asked for, or all others. */
  k: number;
  /** The pictures as the encoder sees them, RGBA8 [n, size, size, 4]; where they were asked for. */
  views?: { pixels: Uint8Array<ArrayBuffer>; size: number };
}

/** Judges features by weighted kNN, and finds neighbours. */
export type Evaluator = Encoder & {
  /** Takes an encoder, and forgets the pictures of the one before. */
  use: Message<EvaluatedEncoder>;
  /** Waits until so many pictures of the gallery have been embedded, and finds each one's neighbours among them. */
  survey: Message<{ pictures: number; neighbours: number; views: boolean }, Survey>;
  /**
   * Waits until all these pictures have been embedded, and classifies the queries, by each number of neighbours: empty where
   * none of the ones or of the others has a class.
   */
  score: Message<{ bank: number; queries: number }, Accuracy[]>;
};

/** How one linear probe did on some pictures. */
export interface ProbeScore {
  /** Mean cross-entropy. */
  loss: number;
  /** Pictures whose class came first, in percent. */
  top1: number;
  /** Pictures whose class was among the first five, in percent. */
  top5: number;
}

/** Takes features: `embeddings` filled with rows [count, dimension]. */
export type FeatureTaker = {
  /** Uses the features, and sends the buffers home. */
  take: Message<EmbeddedBatch>;
};

/** Trains linear probes, several learning rates side by side. */
export type LinearTrainer = FeatureTaker & {
  /** Says whom the buffers go back to. */
  connect: Message<{ readers: ActorRef<TsvReader>[] }>;
  /** Says how fast to learn from the pictures that come from now on: one learning rate a probe. */
  begin: Message<{ learningRates: number[] }>;
  /** Waits until so many pictures of a purpose have been taken, says how the probes did on them, and counts anew. */
  finish: Message<{ purpose: Purpose; pictures: number }, ProbeScore[]>;
  /** Trains one epoch on the features that were kept, in an order of the epoch's own. */
  trainOnKept: Message<{ epoch: number; learningRates: number[] }, ProbeScore[]>;
  /** Judges the probes by the queries' features that were kept. */
  judgeKept: Message<void, ProbeScore[]>;
  /** Remembers where training is: an epoch is done. What `save` writes is this. */
  note: Message<LinearProgress>;
  /** Writes a checkpoint of what was noted last, and the best one where that has changed; says where the former is. */
  save: Message<void, { path: string | null }>;
};

/** Where a linear evaluation is. */
export interface LinearProgress {
  /** Epochs done. */
  epoch: number;
  /** Best top-1 of each probe so far, in percent. */
  best: number[];
  /** Which probes have diverged: their weights are not kept. */
  diverged: boolean[];
  /** Index of the probe that a checkpoint is of; one that has not diverged. */
  probe: number;
  /** Whether it is better than ever. */
  isBest: boolean;
}

/** What a linear evaluation's actors tell the one who runs them. */
export type LinearMonitor = ReaderMonitor & {
  /** A step is done: how each probe did on the batch before it, and its learning rate. */
  step: Message<BatchPosition & { scores: ProbeScore[]; learningRates: number[] }>;
};

/** What readers tell the one who runs them; on the main thread. */
export type ReaderMonitor = {
  /** Something that a person should know, and that does not end the run. */
  warning: Message<string>;
  /** A row, from 0, could not be used, and was skipped or replaced; `text` names it too, and says why. */
  brokenRow: Message<{ file: string; row: number; text: string }>;
};

/** Some views, to be looked at. */
export interface ViewSample {
  /** RGBA8 [count, size, size, 4]. */
  pixels: Uint8Array<ArrayBuffer>;
  /** How many views there are. */
  count: number;
  /** Side of a view, in pixels. */
  size: number;
  /** Whether they are the small views. */
  isSmall: boolean;
}

/** What a distillation's actors tell the one who runs them. */
export type Monitor = ReaderMonitor & {
  /** Some views of the run's first batch, to be looked at. */
  views: Message<ViewSample>;
  /** A step is done. */
  step: Message<BatchPosition & { loss: number; lr: number; lossScale?: LossScale }>;
  /** A look into a step, where `look` asked for one. */
  look: Message<TrainingLook>;
  /** A checkpoint is written: of a whole epoch or within one. `weights` come along where an evaluation is due. */
  saved: Message<{ epoch: number; endsEpoch: boolean; path: string; weights?: NamedValues }>;
};

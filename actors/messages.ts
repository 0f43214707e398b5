/**
 * Every message of a pipeline that crosses a Worker's wall, in its order; those of one method alone are in its folder.
 *
 *     tsv_reader -> augmenter -> encoder -> sink -> (buffers) -> tsv_reader
 *     tsv_reader -> augmenter -> evaluator -> (buffers) -> tsv_reader
 *
 * A batch travels with all the buffers that it will need on its way. Each role fills its own and passes the rest on;
 * the last one sends them back to the reader they came from, so that in a steady state nothing is allocated.
 */
import type { PackedImages } from "../data/pack.ts";
import type { KernelTime } from "../kernels/profiler.ts";
import type { EncoderRole } from "../models/encoder.ts";
import type { Normalization } from "../models/images.ts";
import type { BatchNumber } from "./batch_number.ts";
import type { ActorRef, Message } from "./runtime/mod.ts";

/** The buffers of a batch. */
export interface BatchBuffers {
  /** Packed images and their table, as decoded; grows with the largest batch. */
  images: ArrayBuffer;
  /** Views, RGBA8 [batch, size, size]. */
  views: ArrayBuffer;
  /** The same views at the size that the teacher is given, if that is another one. */
  teacherViews?: ArrayBuffer;
  /** Teacher embeddings, float32 [batch, dimension]. */
  embeddings: ArrayBuffer;
  /** The teacher's feature maps, if the loss compares them: float32 [batch, h, w, c], c padded to a multiple of 4. */
  maps?: ArrayBuffer;
  /** Buffers of the small views, if any. */
  local?: LocalViewBuffers;
}

/** Options for small views. */
export interface LocalViewOptions {
  /** Number of small views per image. */
  views: number;
  /** Side of the square views, in pixels. */
  imageSize: number;
  /** Name of their augmentation. Default: that of SWAV's local views. */
  augmentation?: string;
}

/** The buffers of a batch's small views; the views of an image are adjacent. */
export interface LocalViewBuffers {
  /** RGBA8 [batch * views, size, size]. */
  views: ArrayBuffer;
  /** Teacher embeddings, float32 [batch * views, dimension]. */
  embeddings: ArrayBuffer;
}

/** Position of a batch in the run. */
export interface BatchPosition extends BatchNumber {
  /** Whether this is the last batch of the epoch. */
  endsEpoch: boolean;
}

/** Fields that all stages pass on. */
export interface Travelling {
  /** Position of the batch. */
  position: BatchPosition;
  /** Name of the reader that the buffers return to. */
  origin: string;
  /** Purpose of the images: training, or the bank, queries or probes of an evaluation. */
  purpose: Purpose;
}

/** Purpose of a reader's images. */
export type Purpose = "train" | "bank" | "queries" | "probes";

/**
 * tsv_reader to augmenter: decoded images. In a training whose order drops an incomplete last batch, as all but a linear
 * evaluation's does, there are as many as the reader's `batchSize`.
 */
export interface DecodedBatch extends Travelling, Omit<BatchBuffers, "images"> {
  /** Table and pixels, in the buffer that is `images` of {@linkcode BatchBuffers}. */
  images: PackedImages;
}

/** augmenter to encoder: the same batch, with `views` filled. */
export type ViewBatch = DecodedBatch;

/** encoder to sink: the same batch, with `embeddings` filled with features or L2-normalised embeddings. */
export type EmbeddedBatch = ViewBatch;

/** A state_dict's values by key, in PyTorch's layout. */
export type NamedValues = [key: string, values: Float32Array<ArrayBuffer>][];

/** Reads and decodes rows of a TSV file. */
export type TsvReader = {
  /** Sets the augmenter that receives the images. */
  connect: Message<{ augmenter: ActorRef<Augmenter> }>;
  /**
   * Sends this reader's share of the batches `firstBatch` up to (not including) `endBatch` of an epoch, all by
   * default. Replies when they are sent, with the number of images. In the training of an encoder that is `batchSize` for each
   * batch of its share: of `workers` readers, number `worker` has those with `batch % workers === worker`. Another number ends
   * the run, so a camera that has no more images throws a `UserError`, or repeats some.
   */
  read: Message<{ epoch: number; firstBatch?: number; endBatch?: number }, { images: number }>;
  /** Returns a batch's buffers. */
  recycle: Message<BatchBuffers>;
};

/** Kernel times of a program, measured one by one on an idle device. */
export interface ProgramProfile {
  /** Label of the program. */
  program: string;
  /** One entry per dispatch, in order. */
  kernels: KernelTime[];
}

/** Messages to an actor with device programs, for when nothing else is running. */
export type Profiled = {
  /** Times each program by running it several times. A trainer's weights then differ from those saved. */
  profile: Message<void, ProgramProfile[]>;
};

/** Makes views. */
export type Augmenter = Profiled & {
  /** Fills `views`, and passes the batch on. */
  augment: Message<DecodedBatch>;
};

/** Embeds views: an encoder in a pipeline, or an evaluator. */
export type Encoder = {
  /** Embeds the views. */
  encode: Message<ViewBatch>;
};

/** The end of a pipeline, or a stage after the encoder. */
export type Sink = {
  /** Uses the embeddings, and passes the buffers on or back to their origin. */
  consume: Message<EmbeddedBatch>;
};

/** An actor that returns buffers to readers. */
export type Returning = {
  /** Sets the readers that the buffers return to; sent again after a restart. */
  connect: Message<{ readers: ActorRef<TsvReader>[] }>;
};

/**
 * Exchanges numbers with the actors of the same name in the other processes of a run, its ranks. All ranks send theirs the same
 * messages in the same order; each is replied to when all have sent it.
 */
export type GradientExchange = {
  /** Waits for all ranks without keeping a core busy, and replies with the maximum over them of each int32. */
  agree: Message<Int32Array<ArrayBuffer>, Int32Array<ArrayBuffer>>;
  /** Replies with the sums over all ranks of float32s: the same bits to all. */
  sum: Message<Float32Array<ArrayBuffer>, Float32Array<ArrayBuffer>>;
  /** The same of float32s that may travel as float16, as `actors/ranks/half_sums.ts` does it. */
  sumHalves: Message<Float32Array<ArrayBuffer>, Float32Array<ArrayBuffer>>;
  /** Replies with the float32s of all ranks, in the order of the ranks. */
  gather: Message<Float32Array<ArrayBuffer>, Float32Array<ArrayBuffer>>;
  /** Replies with the float32s of rank 0. */
  broadcast: Message<Float32Array<ArrayBuffer>, Float32Array<ArrayBuffer>>;
};

/** Projects features onto a plane. */
export type Projector = {
  /** Projects features [n, dimension] to float32 [n, 2], by PCA and by UMAP; UMAP needs at least four. */
  project: Message<
    { features: Float32Array<ArrayBuffer>; dimension: number; seed: number },
    { pca: Float32Array<ArrayBuffer>; umap: Float32Array<ArrayBuffer> | null }
  >;
};

/** Accuracy of a classification, in percent of the queries. */
export interface Accuracy {
  /** Top-1 accuracy, in percent. */
  top1: number;
  /** Top-5 accuracy, in percent. */
  top5: number;
}

/** Encoder that an evaluator embeds with. */
export type EvaluatedEncoder =
  /** A checkpoint file; `which` of a distillation's, `weights` what stands before the encoder's keys. */
  | { arch: string; path: string; which?: EncoderRole; weights?: string }
  /** Fresh weights. */
  | { arch: string; seed: number }
  /** Values, with a head of which nothing is used, and what pixels are normalised by. */
  | { arch: string; values: NamedValues; normalization: Normalization };

/** Nearest neighbours in a probe set, by the features of one encoder. */
export interface ProbeSetNeighbours {
  /** Row numbers of the images, n of them, in the same order for all encoders. */
  rows: number[];
  /** Their labels; -1 where there are none. */
  labels: number[];
  /** Pooled features [n, dimension]. */
  features: Float32Array<ArrayBuffer>;
  /** Length of a feature. */
  dimension: number;
  /** Indices into `rows` of each image's nearest neighbours [n, k], the nearest first, without the image itself. */
  neighbours: Uint32Array<ArrayBuffer>;
  /** Cosine similarities of their features to the image's [n, k]. */
  similarities: Float32Array<ArrayBuffer>;
  /** Neighbours of each image: as many as requested, or all others. */
  k: number;
  /** The images as the encoder sees them, RGBA8 [n, size, size, 4]; present if requested. */
  views?: { pixels: Uint8Array<ArrayBuffer>; size: number };
}

/** Evaluates features by weighted kNN, and finds neighbours. */
export type Evaluator = Encoder & Returning & {
  /** Takes an encoder, and forgets the images of the one before. */
  use: Message<EvaluatedEncoder>;
  /** Waits until so many images of the probe set have been embedded, and finds each one's neighbours among them. */
  findNeighbours: Message<{ images: number; neighbours: number; views: boolean }, ProbeSetNeighbours>;
  /**
   * Waits until all these images have been embedded, and classifies the queries, by each number of neighbours: empty where
   * none of the ones or of the others has a class. All images are forgotten then.
   */
  score: Message<{ bank: number; queries: number }, Accuracy[]>;
};

/** Some views, for display. */
export interface ViewSample {
  /** RGBA8 [count, size, size, 4]. */
  pixels: Uint8Array<ArrayBuffer>;
  /** Number of views. */
  count: number;
  /** Side of a view, in pixels. */
  size: number;
  /** Whether they are the small views. */
  isLocal: boolean;
}

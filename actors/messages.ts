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
import type { BatchNumber } from "./batch_number.ts";
import type { ActorRef, Message } from "./runtime/mod.ts";

/** The buffers of a batch. */
export interface BatchBuffers {
  /** Packed images and their table, as decoded; grows with the largest batch. */
  images: ArrayBuffer;
  /** Views, RGBA8 [batch, size, size]. */
  views: ArrayBuffer;
  /** Teacher embeddings, float32 [batch, dimension]. */
  embeddings: ArrayBuffer;
  /** Where images have small views too. */
  local?: LocalViewBuffers;
}

/** The small views of an image. */
export interface LocalViewOptions {
  /** How many of each image. */
  views: number;
  /** Side of the square views, in pixels. */
  imageSize: number;
  /** Name of the augmentation that draws them; SWAV's for its local views where it is left out. */
  augmentation?: string;
}

/** The buffers of a batch's small views; those of an image follow each other. */
export interface LocalViewBuffers {
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
  origin: string;
  /** Whether the images are to be learnt from, or are the bank or the queries of an evaluation. */
  purpose: Purpose;
}

/** What a reader's images are for. */
export type Purpose = "train" | "bank" | "queries" | "probes";

/** tsv_reader to augmenter: decoded images. */
export interface DecodedBatch extends Travelling, Omit<BatchBuffers, "images"> {
  /** Table and pixels, in the buffer that is `images` of {@linkcode BatchBuffers}. */
  images: PackedImages;
}

/** augmenter to encoder: the same, `views` filled. */
export type ViewBatch = DecodedBatch;

/** encoder to sink: the same, `embeddings` filled with features, or with L2-normalised embeddings. */
export type EmbeddedBatch = ViewBatch;

/** A state_dict's values by key, in PyTorch's layout. */
export type NamedValues = [key: string, values: Float32Array<ArrayBuffer>][];

/** Reads and decodes rows of a TSV file. */
export type TsvReader = {
  /** Says where the images go. */
  connect: Message<{ augmenter: ActorRef<Augmenter> }>;
  /**
   * Sends this reader's share of the batches `firstBatch` up to (not including) `endBatch` of an epoch, all by
   * default. Replies when they are sent, with the number of images.
   */
  read: Message<{ epoch: number; firstBatch?: number; endBatch?: number }, { images: number }>;
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

/** Embeds views: an encoder in a pipeline, or an evaluator. */
export type Encoder = {
  /** Embeds the views. */
  encode: Message<ViewBatch>;
};

/** Where a pipeline ends, or a stage of it behind the encoder. */
export type Sink = {
  /** Uses the embeddings, and sends the buffers back to their origin or on. */
  consume: Message<EmbeddedBatch>;
};

/** Who sends buffers back. */
export type Returning = {
  /** Says whom the buffers go back to; again after a restart. */
  connect: Message<{ readers: ActorRef<TsvReader>[] }>;
};

/** Projects features onto a plane. */
export type Projector = {
  /**
   * Features [n, dimension] as points of a plane, float32 [n, 2]: by principal components and by UMAP, which takes four at
   * least.
   */
  project: Message<
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
  /** A checkpoint file; `which` of a distillation's, `weights` what stands before the encoder's keys. */
  | { arch: string; path: string; which?: EncoderRole; weights?: string }
  /** Fresh weights. */
  | { arch: string; seed: number }
  /** Values, with a head of which nothing is used. */
  | { arch: string; values: NamedValues };

/** The nearest neighbours that an encoder finds in a probe set. */
export interface ProbeSetNeighbours {
  /** Rows of the data that the images are, n of them, in an order that is the same for all encoders. */
  rows: number[];
  /** Their labels; -1 where there are none. */
  labels: number[];
  /** Pooled features [n, dimension]. */
  features: Float32Array<ArrayBuffer>;
  /** Length of a feature. */
  dimension: number;
  /** Places in `rows` of each image's nearest neighbours [n, k], the nearest first, itself left out. */
  neighbours: Uint32Array<ArrayBuffer>;
  /** Cosines of their features with the image's [n, k]. */
  similarities: Float32Array<ArrayBuffer>;
  /** Neighbours of each: as many as were asked for, or all others. */
  k: number;
  /** The images as the encoder sees them, RGBA8 [n, size, size, 4]; where they were asked for. */
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
   * none of the ones or of the others has a class.
   */
  score: Message<{ bank: number; queries: number }, Accuracy[]>;
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
  isLocal: boolean;
}

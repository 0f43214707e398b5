/** What the compiled training steps of all methods have in common. */
import type { Program } from "../../kernels/program.ts";
import type { Encoder } from "../../models/encoder.ts";
import type { StateEntry } from "../../models/encoder_layers.ts";
import type { HeadOptions } from "../../models/heads.ts";
import type { Normalization } from "../../models/images.ts";
import type { StateValues } from "../../models/initialize.ts";
import type { ParameterStore, ReadEntry } from "../../models/parameter_store.ts";
import type { BatchInGroup } from "../../models/training_step.ts";
import type { KeyQueue } from "./key_queue.ts";
import type { OptimizedStepOptions } from "./step_options.ts";

/** What the steps of all methods are made with. */
export interface EncoderStepOptions extends OptimizedStepOptions {
  encoder: Encoder;
  head: HeadOptions;
  /** Images of a batch, on this device. */
  batch: number;
  /** Devices that each have as many of every batch; 1 where it is left out. */
  ranks?: number;
  /** Take statistics of batch norm over the images of all `ranks`, which needs an exchange that gathers. */
  syncBn?: boolean;
  /** Side of the square images, in pixels. */
  imageSize: number;
  /** What pixels are normalised by; ImageNet's where it is left out. */
  normalization?: Normalization;
  /** Rows of the queue; a multiple of the batch. */
  queueSize: number;
  /** Compute activations again for the backward pass, block by block, instead of keeping them. */
  checkpointActivations?: boolean;
}

/** How a batch is trained on. */
export interface EncoderStepSettings {
  learningRate: number;
  /** Row of the queue that the batch's first key replaces; of the small queue, that of its first small view. */
  queuePointer: number;
  /** Batches of the run before this one: chooses what dropout drops. */
  step?: number;
  /** Which of how many batches of a step it is, where they accumulate: the weights and queues change with the last one. */
  group?: BatchInGroup;
  /** Have the step tell of itself, if the weights change with this batch. */
  takesStats?: boolean;
}

/** A compiled step that trains an encoder. */
export interface EncoderStep extends Disposable {
  /** The encoder's state_dict, in PyTorch's order. */
  readonly state: readonly StateEntry[];
  /** The queue of the views, and that of local views where there are any. */
  readonly queues: readonly KeyQueue[];
  /** Weights, gradients and what the optimizer keeps. */
  readonly parameters: ParameterStore;
  /** For the profiler: its parts in their order. */
  readonly programs: readonly Program[];
  /** Loads the encoder, and the one beside it where that is trained too or follows it. */
  load(read: ReadEntry, readBeside: ReadEntry): Promise<void>;
  /** Has the optimizer count its steps from 0. */
  resetSteps(): void;
  /** Reads the trained encoder's parameters and running statistics. */
  save(): Promise<StateValues>;
  /** Reads the trained encoder's L2-normalised embeddings of the last batch: [batch, dimension]. */
  readEmbeddings(): Promise<Float32Array<ArrayBuffer>>;
}

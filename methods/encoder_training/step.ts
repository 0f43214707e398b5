/** What the compiled training steps of all methods have in common. */
import { GRAD_SCALER, type LossScale, type LossScaleRule } from "../../kernels/ops/loss_scale/loss_scale.ts";
import type { Program } from "../../kernels/program.ts";
import type { Encoder } from "../../models/encoder.ts";
import type { StateEntry } from "../../models/encoder_builder.ts";
import type { HeadOptions } from "../../models/heads.ts";
import type { StateValues } from "../../models/initialize.ts";
import { findOptimizer } from "../../models/optim/optimizers.ts";
import type { ParameterStore, ReadEntry } from "../../models/parameter_store.ts";
import type { BatchInGroup, OptimizerOptions } from "../../models/training_step.ts";
import type { KeyQueue } from "./key_queue.ts";

/** What the steps of all methods are made with. */
export interface EncoderStepOptions {
  encoder: Encoder;
  head: HeadOptions;
  batch: number;
  /** Side of the square images, in pixels. */
  imageSize: number;
  /** Rows of the queue; a multiple of the batch. */
  queueSize: number;
  momentum: number;
  weightDecay: number;
  /** Batches whose gradients make one step, as one batch of all their images would; 1 where it is left out. */
  accumulate?: number;
  /** L2 norm that the gradients of all weights together are clipped to; they are not where it is left out. */
  clipNorm?: number;
  /** Compute activations again for the backward pass, block by block, instead of keeping them. */
  checkpointActivations?: boolean;
  /** Keep maps of pixels in float16, which not every adapter can. It needs a `lossScale`. */
  mixedPrecision?: boolean;
  /**
   * What loss scaling starts from; gradients are not scaled where it is left out. A step whose gradients are not all finite
   * changes no weights, with it or without.
   */
  lossScale?: LossScale;
  /** How the scale changes; by GradScaler's rule where it is left out. */
  lossScaleRule?: LossScaleRule;
  /** Whether a step can tell of itself: norms by group of layers, and its time. */
  hasStats?: boolean;
  /** Seed of dropout and drop-connect, where the encoder has them; both are off where it is left out. */
  dropoutSeed?: number;
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
  /** Reads the trained encoder's parameters and running statistics. */
  save(): Promise<StateValues>;
  /** Reads the trained encoder's L2-normalised embeddings of the last batch: [batch, dimension]. */
  readEmbeddings(): Promise<Float32Array<ArrayBuffer>>;
}

/** SGD as the originals have it, with gradients that must be finite. */
export function sgdOf(
  { momentum, weightDecay, lossScale, lossScaleRule = GRAD_SCALER, accumulate = 1, clipNorm, hasStats }:
    EncoderStepOptions,
): OptimizerOptions {
  return {
    rule: findOptimizer("sgd", { momentum, weightDecay }),
    isChecked: true,
    ...lossScale && { lossScale, lossScaleRule },
    clipNorm,
    accumulates: accumulate > 1,
    hasStats,
  };
}

/** How the weights of an encoder change: what a run is told of it, and what its compiled step is made with. */
import {
  FIXED_SCALE,
  GRAD_SCALER,
  INITIAL_LOSS_SCALE,
  type LossScale,
  type LossScaleRule,
} from "../../kernels/ops/loss_scale/loss_scale.ts";
import { findOptimizer } from "../../models/optim/optimizers.ts";
import type { OptimizerOptions } from "../../models/training_step.ts";
import type { TrainingOptions } from "../training_options.ts";

/** Options of a run about its steps, whatever trains the encoder. */
export interface StepOptions extends Pick<TrainingOptions, "momentum" | "weightDecay" | "seed"> {
  /** Learning rate of the encoder before scaling: see `models/optim/schedule.ts`. */
  lr: number;
  /** Batches whose gradients are accumulated for one step; fewer at the end of an epoch. */
  accumulate: number;
  /** Maximum L2 norm of all gradients together, which are clipped to it; `null` for no clipping. */
  clipGrad: number | null;
  /** Batches between reports of layer norms, time and memory; 0 for none. */
  statsEvery: number;
  /**
   * Keep feature maps in float16 and scale the loss, as `torch.amp` does: half the memory.
   * Needs an adapter with `shader-f16`.
   */
  amp: boolean;
  /** Whether a step with a non-finite loss or gradient stops the run or is skipped. */
  onNan: "stop" | "skip";
}

/** Defaults that are the same for every method. */
export const STEP_DEFAULTS = {
  momentum: 0.9,
  accumulate: 1,
  clipGrad: null,
  statsEvery: 50,
  amp: false,
  onNan: "stop",
  seed: 0,
} satisfies Partial<StepOptions>;

/** What a compiled step is made with, about how its weights change. */
export interface OptimizedStepOptions {
  momentum: number;
  weightDecay: number;
  /** Batches whose gradients make one step, as one batch of all their images would; 1 where it is left out. */
  accumulate?: number;
  /** L2 norm that the gradients of all weights together are clipped to; they are not where it is left out. */
  clipNorm?: number;
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

/** Returns what a run's step is made with. */
export function optimizedBy(
  { momentum, weightDecay, accumulate, clipGrad, statsEvery, amp, seed }: StepOptions,
  lossScale: LossScale | undefined,
): OptimizedStepOptions {
  return {
    momentum,
    weightDecay,
    accumulate,
    ...clipGrad !== null && { clipNorm: clipGrad },
    hasStats: statsEvery > 0,
    dropoutSeed: seed,
    mixedPrecision: amp,
    lossScale,
    lossScaleRule: amp ? GRAD_SCALER : FIXED_SCALE,
  };
}

/** Whether the loss is scaled: steps that are skipped are counted by its control. */
export function isScaled({ amp, onNan }: Pick<StepOptions, "amp" | "onNan">): boolean {
  return amp || onNan === "skip";
}

/** What loss scaling starts from where no checkpoint says where it was; `undefined` where there is none. */
export function initialLossScale(options: Pick<StepOptions, "amp" | "onNan">): LossScale | undefined {
  if (!isScaled(options)) return undefined;
  return options.amp ? INITIAL_LOSS_SCALE : { ...INITIAL_LOSS_SCALE, scale: 1 };
}

/** SGD as the originals have it, with gradients that must be finite. */
export function sgdOf(
  { momentum, weightDecay, lossScale, lossScaleRule = GRAD_SCALER, accumulate = 1, clipNorm, hasStats }:
    OptimizedStepOptions,
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

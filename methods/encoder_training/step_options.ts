/** How the weights of an encoder change: what a run is told of it, and what its compiled step is made with. */
import {
  FIXED_SCALE,
  GRAD_SCALER,
  INITIAL_LOSS_SCALE,
  type LossScale,
  type LossScaleRule,
} from "../../kernels/ops/loss_scale/loss_scale.ts";
import type { Encoder } from "../../models/encoder.ts";
import type { SavedResumeState } from "../../models/checkpoint/resume_state.ts";
import { findOptimizer } from "../../models/optim/optimizers.ts";
import { learningRateAt, type LearningRateSchedule } from "../../models/optim/schedule.ts";
import { groupOf, type OptimizerOptions } from "../../models/training_step.ts";
import { UserError } from "../../errors.ts";
import type { TrainingOptions } from "../training_options.ts";

/** What an encoder says of how it is trained. */
export type TrainedAs = Pick<Encoder, "name" | "optimizer" | "dropPath">;

/** Optimizer of a run, `--optimizer`: `torch.optim.SGD` or `torch.optim.AdamW`. */
export type OptimizerName = "sgd" | "adamw";

/** Every {@linkcode OptimizerName}. */
export const OPTIMIZERS: readonly OptimizerName[] = ["sgd", "adamw"];

/** Options of a run about its steps, whatever trains the encoder. */
export interface StepOptions extends Pick<TrainingOptions, "momentum" | "weightDecay" | "seed"> {
  /** Learning rate of the encoder before scaling: see `models/optim/schedule.ts`. */
  lr: number;
  /**
   * Optimizer. `adamw` has PyTorch's betas, 0.9 and 0.999, and no `momentum`; its `weightDecay` is of weights of convolutions and
   * linear layers alone.
   */
  optimizer: OptimizerName;
  /**
   * Stochastic depth of a vision transformer (Huang et al. 2016): share of the images whose branches its last block drops, linearly
   * fewer before; drawn for each image, in training alone.
   */
  dropPath: number;
  /** Batches whose gradients are accumulated for one step; fewer at the end of an epoch. */
  accumulate: number;
  /** Maximum L2 norm of all gradients together, which are clipped to it; `null` for no clipping. */
  clipGrad: number | null;
  /** Batches between reports of layer norms, time and memory; 0 for none. */
  statsEvery: number;
  /**
   * Keep feature maps and a teacher's weights in float16 and scale the loss, as `torch.amp` does: half the memory.
   * Needs an adapter with `shader-f16`.
   */
  amp: boolean;
  /** Whether a step with a non-finite loss or gradient stops the run or is skipped. */
  onNan: "stop" | "skip";
}

/** Defaults that are the same for every method. */
export const STEP_DEFAULTS = {
  optimizer: "sgd",
  dropPath: 0,
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
  /** SGD where it is left out. */
  optimizer?: OptimizerName;
  /** Of SGD. */
  momentum: number;
  weightDecay: number;
  /** Steps that changed the weights before, of a run that is resumed. */
  steps?: number;
  /** See {@linkcode StepOptions.dropPath}; none where it is left out. */
  dropPath?: number;
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

/**
 * Returns how many images one step takes: those of the batches that accumulate, of which there are no more than in an epoch. It is at
 * least a batch, where an epoch has none.
 */
export function imagesOfStep(
  { batchSize, accumulate = 1 }: { batchSize: number; accumulate?: number },
  batchesPerEpoch: number,
): number {
  return batchSize * Math.max(1, Math.min(accumulate, batchesPerEpoch));
}

/**
 * Returns options with the optimizer and the stochastic depth that are asked for, else those that the encoder is trained with; and
 * with AdamW its settings, but for those that are asked for.
 *
 * @param options with all defaults, of SGD
 * @param asked what was not left to a default
 * @param ofAdamW defaults of AdamW
 * @throws {UserError} for stochastic depth of an encoder that has none
 */
export function withOptimizer<Options extends StepOptions>(
  options: Options,
  { name, optimizer: usual, dropPath: usualDropPath }: TrainedAs,
  asked: Partial<Options>,
  ofAdamW: Partial<Options>,
): Options {
  const optimizer = asked.optimizer ?? usual ?? "sgd";
  const dropPath = asked.dropPath ?? usualDropPath ?? 0;
  if (dropPath > 0 && usualDropPath === undefined) {
    throw new UserError(
      `--drop-path ${dropPath}: ${name} has no stochastic depth, as vision transformers have by \`dropPath\` of their Encoder; ` +
        "leave it out",
    );
  }
  const settings = optimizer === "adamw" ? { ...ofAdamW, ...given(asked, Object.keys(ofAdamW)) } : {};
  return { ...options, ...settings, optimizer, dropPath };
}

/** What there is of some properties. */
function given<Options extends object>(options: Options, names: readonly string[]): Partial<Options> {
  const entries = Object.entries(options).filter(([name, value]) =>
    names.includes(name) && value !== undefined
  );
  return Object.fromEntries(entries) as Partial<Options>;
}

/** Returns what a run's step is made with. */
export function optimizedBy(
  { optimizer, dropPath, momentum, weightDecay, accumulate, clipGrad, statsEvery, amp, seed }: StepOptions,
  lossScale: LossScale | undefined,
  steps?: number,
): OptimizedStepOptions {
  return {
    optimizer,
    dropPath,
    steps,
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

/**
 * The learning rate of the step that a batch belongs to: that of its first batch, so that batches which accumulate have the rate of one
 * that is as large as all of them.
 *
 * @param batch from 0, of `batchesPerEpoch`
 */
export function learningRateOfStep(
  { epoch, batch }: { epoch: number; batch: number },
  batchesPerEpoch: number,
  accumulate: number,
  schedule: LearningRateSchedule,
): number {
  const { index } = groupOf(batch, batchesPerEpoch, accumulate);
  return learningRateAt({ epoch, batch: batch - index }, batchesPerEpoch, schedule);
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

/**
 * What loss scaling goes on from. The scale of a run in mixed precision is none for a run without, and the other way round: such
 * a run begins with its own, and counts the skipped steps on.
 *
 * @param saved of the checkpoint
 */
export function resumedLossScale(
  options: Pick<StepOptions, "amp" | "onNan">,
  { lossScale, terms }: Pick<SavedResumeState, "lossScale" | "terms">,
): LossScale | undefined {
  const fresh = initialLossScale(options);
  if (fresh === undefined || lossScale === undefined) return fresh;
  const wasMixed = terms?.get("amp") ?? options.amp;
  return wasMixed === options.amp ? lossScale : { ...fresh, skipped: lossScale.skipped };
}

/** The optimizer of a step, with gradients that must be finite: SGD as the originals have it, or AdamW. */
export function optimizerOf(
  { optimizer = "sgd", momentum, weightDecay, steps, ...options }: OptimizedStepOptions,
): OptimizerOptions {
  const { lossScale, lossScaleRule = GRAD_SCALER, accumulate = 1, clipNorm, hasStats } = options;
  return {
    rule: findOptimizer(optimizer, { momentum, weightDecay }),
    isChecked: true,
    steps,
    ...lossScale && { lossScale, lossScaleRule },
    clipNorm,
    accumulates: accumulate > 1,
    hasStats,
  };
}

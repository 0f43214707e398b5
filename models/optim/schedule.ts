/** Learning rates: one an epoch, exactly as the original computes them; or one a step, as MoCo-v3 and DINO do. */

/** What the learning rate of an epoch depends on. */
export interface LearningRateSchedule {
  /** The rate that the flag `--lr` gives, before scaling. */
  lr: number;
  /** What the rate is multiplied by after the warm-up: see {@linkcode batchScale}; 1 for none. */
  scale: number;
  /** Epochs over which the rate goes in a straight line to `lr * scale`, from `lr` or, with `isPerStep`, from 0; 0 for none. */
  warmupEpochs: number;
  /** Epochs of the whole run: where the cosine reaches its end. */
  epochs: number;
  /** Half a cosine from the scaled rate down to 0; else `gamma` times as much at each of `milestones`. */
  cos: boolean;
  /** Epochs (from 0) from which on the rate is multiplied by `gamma`. */
  milestones: readonly number[];
  /** PyTorch's `MultiStepLR` has the same name for it; 0.1 where it is left out. */
  gamma?: number;
  /** Whether each step has a rate of its own: see {@linkcode steppedLearningRate}. It has its epoch's where this is left out. */
  isPerStep?: boolean;
}

/** What the original multiplies the rate by: 1 at a batch of 256 images, in proportion elsewhere. */
export function batchScale(batchSize: number): number {
  return batchSize / 256;
}

// In floating point `from + (to - from) / n * epoch` in this order is what gives the original's bits.
function warmup(
  { lr, scale, warmupEpochs }: Omit<LearningRateSchedule, "cos" | "epochs">,
  epoch: number,
): number {
  return lr + (lr * scale - lr) / warmupEpochs * epoch;
}

function lowerAtMilestones(lr: number, milestones: readonly number[], epoch: number, gamma = 0.1): number {
  return milestones.reduce((rate, milestone) => epoch >= milestone ? rate * gamma : rate, lr);
}

/**
 * The learning rate of an epoch of a training (the original's `tools/utils.py`). The warm-up knows no milestones,
 * and it goes down when `scale` is below 1.
 *
 * @param epoch from 0
 *
 * @example
 * ```ts
 * import { distillLearningRate } from "./schedule.ts";
 *
 * const schedule = { lr: 0.03, scale: 1, warmupEpochs: 5, epochs: 200, cos: true, milestones: [] };
 * distillLearningRate(100, schedule); // 0.015, half of the way down
 * ```
 */
export function distillLearningRate(epoch: number, schedule: LearningRateSchedule): number {
  const { lr, scale, warmupEpochs, epochs, cos, milestones, gamma } = schedule;
  if (epoch < warmupEpochs) return warmup(schedule, epoch);
  if (cos) return lr * scale * (0.5 * (1 + Math.cos(Math.PI * epoch / epochs)));
  return lowerAtMilestones(lr * scale, milestones, epoch, gamma);
}

/**
 * The learning rate of a step in place of an epoch's: from 0 in a straight line to `lr * scale`, then half a cosine that begins where
 * the warm-up ends: MoCo-v3's `adjust_learning_rate()` (main_moco.py). DINO's `cosine_scheduler()` differs in that it has the full rate
 * one step earlier, and ends at 1e-6. Without a cosine, milestones lower it.
 *
 * @param epoch epochs done, with the share of the current one: 0.5 is in the middle of the first
 */
export function steppedLearningRate(epoch: number, schedule: LearningRateSchedule): number {
  const { lr, scale, warmupEpochs, epochs, cos, milestones, gamma } = schedule;
  const peak = lr * scale;
  if (epoch < warmupEpochs) return peak * epoch / warmupEpochs;
  if (!cos) return lowerAtMilestones(peak, milestones, epoch, gamma);
  const falling = epochs - warmupEpochs;
  return falling <= 0 ? peak : peak * 0.5 * (1 + Math.cos(Math.PI * (epoch - warmupEpochs) / falling));
}

/**
 * The learning rate of a batch of a training: its epoch's, or its own.
 *
 * @param batch from 0, of `batchesPerEpoch`
 */
export function learningRateAt(
  { epoch, batch }: { epoch: number; batch: number },
  batchesPerEpoch: number,
  schedule: LearningRateSchedule,
): number {
  return schedule.isPerStep
    ? steppedLearningRate(epoch + batch / batchesPerEpoch, schedule)
    : distillLearningRate(epoch, schedule);
}

/**
 * The learning rate of an epoch of the linear evaluation (the original's `main_lincls.py`), which has no cosine and
 * lowers the rate at the milestones during the warm-up too.
 *
 * @param epoch from 0
 */
export function linearLearningRate(
  epoch: number,
  schedule: Omit<LearningRateSchedule, "cos" | "epochs" | "gamma">,
): number {
  const { lr, scale, warmupEpochs, milestones } = schedule;
  const rate = epoch < warmupEpochs ? warmup(schedule, epoch) : lr * scale;
  return lowerAtMilestones(rate, milestones, epoch);
}

/** Reads the results of steps back from the device while later steps are under way. */
import type { Gpu } from "../../kernels/gpu.ts";
import { byteLength, type Tensor } from "../../kernels/graph.ts";
import { type LossScale, unpackStepControl } from "../../kernels/ops/loss_scale/loss_scale.ts";
import type { StepStats } from "../../models/step_stats.ts";
import { type BatchInGroup, isLast, type TrainingStep } from "../../models/training_step.ts";
import { Staging } from "./staging.ts";

/** What every step tells, whatever it computes. */
export interface StepOutcome {
  /** Whether it changed the weights: not where a gradient is NaN or infinite. */
  isApplied: boolean;
  /** Steps that have changed the weights so far. */
  steps: number;
  /** Loss scaling after the step, where there is any. */
  lossScale?: LossScale;
  /** What the step tells of itself, where that was asked for. */
  stats?: StepStats;
}

/** What comes back of a step. */
export interface StepResult extends StepOutcome {
  /** Of each tensor that is read back, with its padding. */
  values: readonly Float32Array<ArrayBuffer>[];
}

/** Losses of a step: their sum is what is trained on. */
export interface StepLoss extends StepOutcome {
  /** Their sum. */
  loss: number;
  /** Each of them. */
  losses: readonly number[];
}

/** Returns the losses of a step whose results are tensors of one loss each. */
export async function readLosses(result: Promise<StepResult>): Promise<StepLoss> {
  const { values, ...outcome } = await result;
  const losses = values.map(([loss]) => loss);
  return { loss: losses.reduce((sum, loss) => sum + loss, 0), losses, ...outcome };
}

/** Bytes of the step's control, which is read back behind the results. */
const CONTROL_BYTES = 32;

/** The way back of the results of one compiled step. */
export class ResultReader implements Disposable {
  readonly #step: TrainingStep;
  readonly #results: readonly Tensor[];
  readonly #isScaled: boolean;
  readonly #staging: Staging;

  /** @param results float32 outputs of the step's gradient program */
  constructor(gpu: Gpu, step: TrainingStep, results: readonly Tensor[], isScaled: boolean) {
    this.#step = step;
    this.#results = results;
    this.#isScaled = isScaled;
    const bytes = results.reduce((sum, tensor) => sum + byteLength(tensor), 0);
    this.#staging = new Staging(gpu, bytes + CONTROL_BYTES);
  }

  /**
   * Encodes the copies of a step's results. No more than four may be on their way.
   *
   * @returns reads them, when the step has been submitted
   */
  encode(
    encoder: GPUCommandEncoder,
    group: BatchInGroup,
    takesStats: boolean,
  ): () => Promise<StepResult> {
    const ranges = this.#results.map((tensor) => this.#step.gradientProgram.rangeOf(tensor));
    const staging = this.#staging.encode(encoder, [
      ...ranges,
      { buffer: this.#step.control, offset: 0, bytes: CONTROL_BYTES },
    ]);
    return async () => {
      const values = this.#staging.read(staging);
      const stats = takesStats ? this.#step.readStats() : undefined; // their copies are behind this very step
      stats?.catch(() => {}); // where the values fail, that is told
      return { ...this.#take(await values, isLast(group)), ...takesStats && { stats: await stats } };
    };
  }

  #take(found: readonly Float32Array<ArrayBuffer>[], endsStep: boolean): StepResult {
    const { lossScale, steps, isApplied } = unpackStepControl(found.at(-1)!);
    return {
      values: found.slice(0, -1),
      steps,
      isApplied: isApplied || !endsStep, // of the others nothing is known yet
      ...this.#isScaled && { lossScale },
    };
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#staging[Symbol.dispose]();
  }
}

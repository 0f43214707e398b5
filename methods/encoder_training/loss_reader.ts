/** Reads the losses of steps back from the device while later steps are under way. */
import type { Gpu } from "../../kernels/gpu.ts";
import type { Tensor } from "../../kernels/graph.ts";
import { type LossScale, unpackStepControl } from "../../kernels/ops/loss_scale/loss_scale.ts";
import type { StepStats } from "../../models/step_stats.ts";
import type { BatchInGroup, TrainingStep } from "../../models/training_step.ts";

/** Losses of a step: their sum is what is trained on. */
export interface StepLoss {
  /** Their sum. */
  loss: number;
  /** Each of them. */
  losses: readonly number[];
  /** Whether it changed the weights: not where a gradient is NaN or infinite. */
  isApplied: boolean;
  /** Loss scaling after the step, where there is any. */
  lossScale?: LossScale;
  /** What the step tells of itself, where that was asked for. */
  stats?: StepStats;
}

/** Losses that can be on their way back from the device at once. */
const SLOTS = 4;

/** Bytes that are read back of each loss of a step, and of the step's control behind them. */
const LOSS_BYTES = 16;
const CONTROL_BYTES = 32;

/** The way back of the losses of one compiled step. */
export class LossReader implements Disposable {
  readonly #gpu: Gpu;
  readonly #step: TrainingStep;
  readonly #losses: readonly Tensor[];
  readonly #isScaled: boolean;
  readonly #staging: readonly GPUBuffer[];
  #steps = 0;

  /** @param losses outputs [1] of the step's gradient program */
  constructor(gpu: Gpu, step: TrainingStep, losses: readonly Tensor[], isScaled: boolean) {
    this.#gpu = gpu;
    this.#step = step;
    this.#losses = losses;
    this.#isScaled = isScaled;
    this.#staging = Array.from({ length: SLOTS }, () =>
      gpu.device.createBuffer({
        label: "loss",
        size: LOSS_BYTES * losses.length + CONTROL_BYTES,
        usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
      }));
  }

  /**
   * Encodes the copies of a step's losses. No more than four may be on their way.
   *
   * @returns reads them, when the step has been submitted
   */
  encode(
    encoder: GPUCommandEncoder,
    { index, size }: BatchInGroup,
    takesStats: boolean,
  ): () => Promise<StepLoss> {
    const staging = this.#staging[this.#steps++ % SLOTS];
    for (const [i, loss] of this.#losses.entries()) {
      const { buffer, offset } = this.#step.gradientProgram.rangeOf(loss);
      encoder.copyBufferToBuffer(buffer, offset, staging, LOSS_BYTES * i, LOSS_BYTES);
    }
    encoder.copyBufferToBuffer(
      this.#step.control,
      0,
      staging,
      LOSS_BYTES * this.#losses.length,
      CONTROL_BYTES,
    );
    return async () => {
      const loss = this.#read(staging, index === size - 1);
      const stats = takesStats ? this.#step.readStats() : undefined; // their copies are behind this very step
      return { ...await loss, ...takesStats && { stats: await stats } };
    };
  }

  async #read(staging: GPUBuffer, endsStep: boolean): Promise<StepLoss> {
    await this.#gpu.wait(staging.mapAsync(GPUMapMode.READ));
    const values = new Float32Array(staging.getMappedRange().slice(0));
    staging.unmap();
    const losses = this.#losses.map((_, i) => values[i * LOSS_BYTES / 4]);
    const { lossScale, isApplied } = unpackStepControl(values.subarray(LOSS_BYTES / 4 * losses.length));
    return {
      loss: losses.reduce((sum, loss) => sum + loss, 0),
      losses,
      isApplied: isApplied || !endsStep, // of the others nothing is known yet
      ...this.#isScaled && { lossScale },
    };
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    for (const buffer of this.#staging) buffer.destroy();
  }
}

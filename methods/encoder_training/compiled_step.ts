/** A compiled training step, and the way back of its results: what the steps of all methods that train an encoder have. */
import type { Gpu } from "../../kernels/gpu.ts";
import type { Tensor } from "../../kernels/graph.ts";
import type { GatheredRows } from "../../kernels/program.ts";
import {
  type BatchInGroup,
  type GradientExchange,
  type GradientGraph,
  isLast,
  type OptimizerOptions,
  type StepSettings,
  TrainingStep,
  WHOLE,
} from "../../models/training_step.ts";
import type { OptimizedStepOptions } from "./step_options.ts";
import { ResultReader, type StepResult } from "./step_results.ts";

/** What is added to the commands of a step. */
type Finish = (encoder: GPUCommandEncoder, group: BatchInGroup) => void;

/** A step on one device. */
export class CompiledStep implements Disposable {
  readonly training: TrainingStep;
  readonly #accumulate: number;
  readonly #exchanged: readonly Tensor[];
  readonly #results: ResultReader;
  /** The exchange of the last batch. */
  #submitted: Promise<void> | undefined;

  private constructor(
    gpu: Gpu,
    training: TrainingStep,
    results: readonly Tensor[],
    { accumulate = 1, lossScale }: OptimizedStepOptions,
    exchanged: readonly Tensor[],
  ) {
    this.#exchanged = exchanged;
    this.training = training;
    this.#accumulate = accumulate;
    this.#results = new ResultReader(gpu, training, results, lossScale !== undefined);
  }

  /**
   * Compiles it.
   *
   * @param results outputs that are read back after every batch
   * @param exchange what becomes of the gradients and results before the weights change
   * @param exchanged the results that become their sums over all devices then; all of them where it is left out
   */
  static async create(
    gpu: Gpu,
    traced: GradientGraph,
    results: readonly Tensor[],
    options: OptimizedStepOptions,
    optimizer: OptimizerOptions,
    exchange?: GradientExchange,
    exchanged = results,
  ): Promise<CompiledStep> {
    const training = await TrainingStep.create(gpu, traced, optimizer, exchange);
    return new CompiledStep(gpu, training, results, options, exchange === undefined ? [] : exchanged);
  }

  /**
   * Submits one step, whose inputs have been written, and returns at once with a promise of its results, so that the next
   * one can be submitted while they are on their way. No more than four may be awaited at a time; with an exchange of
   * gradients, one.
   *
   * @param finish encodes what comes after the step
   * @param rows what every device is to have of all, before that
   * @throws {Error} for a group of more batches than the step was compiled for
   */
  submit(
    settings: StepSettings,
    finish: Finish = () => {},
    rows: readonly GatheredRows[] = [],
  ): Promise<StepResult> {
    const { group = WHOLE } = settings;
    if (group.size > this.#accumulate) {
      throw new Error(`a group of ${group.size} batches, of a step that accumulates ${this.#accumulate}`);
    }
    const takesStats = settings.takesStats === true && isLast(group);
    let read: () => Promise<StepResult>;
    const submitted = this.training.submit({ ...settings, takesStats }, (encoder) => {
      finish(encoder, group);
      read = this.#results.encode(encoder, group, takesStats);
    }, { sums: this.#exchanged.map((tensor) => this.training.gradientProgram.rangeOf(tensor)), rows });
    this.#submitted = submitted;
    return submitted === undefined ? read!() : submitted.then(() => read());
  }

  /** Reads an output of the last batch (padded device layout), when all that computes it has been submitted. */
  async read(output: Tensor): Promise<Float32Array<ArrayBuffer>> {
    await this.#submitted?.catch(() => {}); // who submitted the batch is told
    return await this.training.gradientProgram.read(output);
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#results[Symbol.dispose]();
    this.training[Symbol.dispose]();
  }
}

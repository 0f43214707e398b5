/** What a run tells TensorBoard: the original's scalars by epoch, and what else is worth a curve. */
import type { EventWriter } from "./event_writer.ts";
import type { EncoderTrainingStats } from "../../../methods/encoder_training/events.ts";
import { viewSheet } from "./view_sheet.ts";

/** A step, as the recipes report it. */
export interface StepEvent {
  /** From 0. */
  epoch: number;
  /** Steps done in the whole run, from 1. */
  step: number;
  loss: number;
  lr: number;
}

/** Sums up the steps of each epoch. */
export class RunEvents {
  readonly #writer: EventWriter;
  readonly #stepsPerEpoch: number;
  readonly #extraSteps: number;
  readonly #batchSize: number;
  readonly #now: () => number;
  /** Of the epoch's losses, and how many these are. */
  #sum = 0;
  #losses = 0;
  /** Steps since `#since`; the wait for the run's first step is none of them. */
  #timed = 0;
  #since: number | undefined;
  /** When the newest step was done. */
  #last = 0;

  /**
   * @param extraSteps that epochs of another batch size had more, or fewer if below 0
   * @param losses of the steps of the first epoch that were done before the run was resumed
   * @param now milliseconds since some moment
   */
  constructor(
    writer: EventWriter,
    { stepsPerEpoch, extraSteps = 0, batchSize, losses = [], now = () => performance.now() }: {
      stepsPerEpoch: number;
      extraSteps?: number;
      batchSize: number;
      losses?: readonly number[];
      now?: () => number;
    },
  ) {
    this.#writer = writer;
    this.#stepsPerEpoch = stepsPerEpoch;
    this.#extraSteps = extraSteps;
    this.#batchSize = batchSize;
    for (const loss of losses) this.#add(loss);
    this.#now = now;
  }

  /**
   * A step is done. At an epoch's end `train_loss` (the mean), `learning_rate` and `images_per_second` are written at the
   * epoch's number, as the original has them; `step_loss` at each step. The rate is of the time from the run's first step on.
   */
  step({ epoch, step, loss, lr }: StepEvent): void {
    this.#add(loss);
    this.#writer.scalar("step_loss", loss, step);
    this.#last = this.#now();
    if (this.#since === undefined) this.#since = this.#last;
    else this.#timed++;
    if ((step - this.#extraSteps) % this.#stepsPerEpoch !== 0) return;
    const seconds = (this.#last - this.#since) / 1000;
    this.#writer.scalar("train_loss", this.#sum / this.#losses, epoch);
    this.#writer.scalar("learning_rate", lr, epoch);
    if (this.#timed > 0) {
      this.#writer.scalar("images_per_second", this.#timed * this.#batchSize / seconds, epoch);
    }
    [this.#sum, this.#losses, this.#timed, this.#since] = [0, 0, 0, this.#last];
  }

  /** Training has waited since its newest step, for a test: that time is none of an epoch's. */
  pause(): void {
    const now = this.#now();
    if (this.#since !== undefined) this.#since += now - this.#last;
    this.#last = now;
  }

  /** Steps that were skipped have no loss. */
  #add(loss: number): void {
    if (!Number.isFinite(loss)) return;
    this.#sum += loss;
    this.#losses++;
  }

  /** What a step tells of itself: norms by group of layers, the device's time, memory. */
  stats(
    { step, gradientNorms, weightNorms, deviceSeconds, deviceBytes, processBytes }: EncoderTrainingStats,
  ): void {
    for (const [kind, norms] of Object.entries({ gradient: gradientNorms, weight: weightNorms })) {
      for (const [group, norm] of Object.entries(norms)) {
        this.#writer.scalar(`${kind}_norm/${group}`, norm, step);
      }
    }
    if (deviceSeconds !== undefined) this.#writer.scalar("device_seconds", deviceSeconds, step);
    this.#writer.scalar("device_bytes", deviceBytes, step);
    this.#writer.scalar("process_bytes", processBytes, step);
  }

  /** Some views of a batch, as one image. */
  async views(tag: string, pixels: Uint8Array, count: number, size: number): Promise<void> {
    this.#writer.image(tag, await viewSheet(pixels, count, size), 0);
  }
}

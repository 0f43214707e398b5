/** Both ends of a run's curve of losses: all that its result says of them, however long it was. */
import type { KnownLoss } from "./prepare.ts";

/** Means of both ends of a run's curve of losses. */
export interface LossMeans {
  /**
   * Mean loss of the first steps, as many as an epoch has; NaN if no loss is known. Includes steps before a resume if
   * their losses are known (`soFar`).
   */
  firstLoss: number;
  /** First and last step of that mean, counted from 1 over the whole run; [0, 0] if no loss is known. */
  firstLossSteps: readonly [number, number];
  /** Mean loss of the last steps, as many as an epoch has; equal to `firstLoss` in a run of at most one epoch. */
  lastLoss: number;
  /** First and last step of that mean. */
  lastLossSteps: readonly [number, number];
}

/** The first losses and the last ones, as many as an epoch has batches. */
export class LossEnds {
  readonly #length: number;
  readonly #first: KnownLoss[] = [];
  readonly #last: KnownLoss[] = [];

  /**
   * @param batchesPerEpoch how many losses make an end
   * @param known losses of the steps before, in their order
   */
  constructor(batchesPerEpoch: number, known: readonly KnownLoss[] = []) {
    this.#length = batchesPerEpoch;
    for (const loss of known) this.add(loss);
  }

  /** Adds the loss of the next step. */
  add({ step, loss }: KnownLoss): void {
    if (this.#first.length < this.#length) this.#first.push({ step, loss });
    this.#last.push({ step, loss });
    if (this.#last.length >= 2 * this.#length) this.#last.splice(0, this.#last.length - this.#length);
  }

  /** Means of both ends; steps that were skipped have no loss. */
  get means(): LossMeans {
    const mean = (rows: readonly KnownLoss[]) => {
      const known = rows.map(({ loss }) => loss ?? NaN).filter(Number.isFinite);
      return known.reduce((sum, value) => sum + value, 0) / known.length;
    };
    const steps = (rows: readonly KnownLoss[]) => [rows[0]?.step ?? 0, rows.at(-1)?.step ?? 0] as const;
    const [first, last] = [this.#first, this.#last.slice(-this.#length)];
    return {
      firstLoss: mean(first),
      firstLossSteps: steps(first),
      lastLoss: mean(last),
      lastLossSteps: steps(last),
    };
  }
}

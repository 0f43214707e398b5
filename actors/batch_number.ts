/** The order of a run's batches. */

/** Position of a batch: its epoch, and its number within the epoch. `batch` is -1 before an epoch's first batch. */
export interface BatchNumber {
  /** Epoch, from 0. */
  epoch: number;
  /** Batch of the epoch, from 0, or -1 before the first. */
  batch: number;
}

/** Whether `a` comes after `b`. */
export function isAfter(a: BatchNumber, b: BatchNumber): boolean {
  return a.epoch > b.epoch || (a.epoch === b.epoch && a.batch > b.batch);
}

/** The one after, in epochs of so many batches. */
export function nextOf({ epoch, batch }: BatchNumber, batchesPerEpoch: number): BatchNumber {
  return batch + 1 < batchesPerEpoch ? { epoch, batch: batch + 1 } : { epoch: epoch + 1, batch: 0 };
}

/** How the steps of a run are counted. */
export interface StepCount {
  /** Batches of an epoch. */
  batchesPerEpoch: number;
  /**
   * Steps that earlier epochs, of another batch size, had more than they would have now; below 0 for fewer, 0 if omitted. With
   * them the count goes on where a run is resumed with another batch size.
   */
  extraSteps?: number;
}

/** Steps of the whole run before a batch. */
export function countSteps(
  { batchesPerEpoch, extraSteps = 0 }: StepCount,
  { epoch, batch }: BatchNumber,
): number {
  return extraSteps + epoch * batchesPerEpoch + batch;
}

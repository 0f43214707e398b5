/** The order of a run's batches. */

/** Which batch: the epoch and the batch's number in it, from 0. Before an epoch's first batch `batch` is -1. */
export interface BatchNumber {
  /** From 0. */
  epoch: number;
  /** From 0, or -1 before the first. */
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

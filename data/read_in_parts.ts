/** Rows of data, a few in memory at a time. */
import type { Dataset, DatasetRows } from "./dataset.ts";

/** Rows that are read at a time: each may have `MAX_IMAGE_BYTES`. */
const ROWS_AT_ONCE = 16;

/** Reads rows in a given order, and yields some of them at a time. */
export async function* readInParts(dataset: Dataset, order: ArrayLike<number>): AsyncGenerator<DatasetRows> {
  for (let from = 0; from < order.length; from += ROWS_AT_ONCE) {
    const length = Math.min(ROWS_AT_ONCE, order.length - from);
    yield await dataset.readRows(Array.from({ length }, (_, i) => order[from + i]));
  }
}

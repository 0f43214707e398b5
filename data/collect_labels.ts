/** Labels of all rows, from data that is read row by row. */
import { setImmediate } from "node:timers";
import type { ReadLabelsOptions } from "./dataset.ts";

/** Rows between two turns of the event loop: a second at most where each takes a millisecond, as over a network. */
export const ROWS_A_TURN = 1024;

/** How rows are read. */
interface LabelReader {
  /** The label of a row; -1 where it has none. */
  labelOf(row: number): number;
  /** Byte of the data that a row ends before. */
  endOf(row: number): number;
}

/**
 * Collects the labels of rows 0 to `rowCount` - 1. The event loop turns now and then, so that signals are heard meanwhile.
 *
 * @returns labels, [rowCount]
 * @throws the signal's reason, where that is aborted
 */
export async function collectLabels(
  rowCount: number,
  { labelOf, endOf }: LabelReader,
  { onProgress, signal }: ReadLabelsOptions = {},
): Promise<Int32Array<ArrayBuffer>> {
  const labels = new Int32Array(rowCount);
  for (let first = 0; first < rowCount; first += ROWS_A_TURN) {
    const end = Math.min(first + ROWS_A_TURN, rowCount);
    for (let row = first; row < end; row++) labels[row] = labelOf(row);
    onProgress?.(endOf(end - 1), endOf(rowCount - 1));
    await new Promise<void>((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
  }
  return labels;
}

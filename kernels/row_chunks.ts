/** Rows of a tensor that is larger than what a device binds at once. */

/** Rows that follow one another. */
export interface RowChunk {
  first: number;
  count: number;
}

/** Chunks begin at multiples of this: such rows of any vec4s begin at multiples of 1,024 bytes, as bindings must. */
const ROWS = 64;

/**
 * Returns the fewest chunks of nearly equal size, in order; one of all rows where the device can bind it.
 *
 * @param bytesPerRow of the largest tensor that is bound in such chunks
 * @param maxBytes that the device binds at once
 */
export function rowChunks(rows: number, bytesPerRow: number, maxBytes: number): RowChunk[] {
  if (rows * bytesPerRow <= maxBytes) return [{ first: 0, count: rows }];
  const most = Math.max(1, Math.floor(maxBytes / bytesPerRow / ROWS)) * ROWS;
  const count = Math.ceil(rows / Math.ceil(rows / most) / ROWS) * ROWS;
  return Array.from({ length: Math.ceil(rows / count) }, (_, i) => ({
    first: i * count,
    count: Math.min(count, rows - i * count),
  }));
}

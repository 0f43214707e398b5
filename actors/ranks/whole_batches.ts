/** Batches that ranks take whole: what is in a batch, and so the bits of what comes of it, does not depend on the ranks. */
import type { Ranks } from "./ranks.ts";

/** The batches of one rank: number `rank` of `size` takes batch `rank`, `rank + size`, and so on. */
export interface WholeBatches {
  /** The rows that are in them, ascending. */
  rows: Uint32Array<ArrayBuffer>;
  /** How many there are. */
  batches: number;
  /** How many the rank with most of them has. */
  rounds: number;
}

/**
 * Returns the batches that a rank takes.
 *
 * @param from all rows that are read, ascending, or how many rows the data has
 */
export function wholeBatchesOf(
  from: Uint32Array<ArrayBuffer> | number,
  batchSize: number,
  { rank, size }: Ranks,
): WholeBatches {
  const all = typeof from === "number" ? Uint32Array.from({ length: from }, (_, row) => row) : from;
  const count = Math.ceil(all.length / batchSize);
  const rows = all.filter((_, place) => Math.floor(place / batchSize) % size === rank);
  return { rows, batches: Math.ceil(rows.length / batchSize), rounds: Math.ceil(count / size) };
}

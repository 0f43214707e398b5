/** How much memory the decoded images of some data take. */
import { BrokenRowError, type Dataset } from "./dataset.ts";
import { spreadRows } from "./fingerprint.ts";
import { UNIT, unitsOf } from "./image_cache_table.ts";
import { readImageHeader } from "./image_header.ts";

/** Rows that are looked at. */
const ROWS = 256;

/** Which images a cache holds. */
export interface CachedRows {
  /** A larger image counts as broken, and is not kept. */
  maxPixels?: number;
  /** Numbers of their rows; all where it is left out. */
  rows?: Uint32Array;
}

/**
 * Returns the bytes that a cache of images takes, by the headers of some of them; 0 where none is to be decoded: the
 * data has pixels, or nothing that can be used.
 */
export async function estimateDecodedBytes(
  dataset: Dataset,
  { maxPixels = Infinity, rows }: CachedRows = {},
): Promise<number> {
  const count = rows?.length ?? dataset.rowCount;
  const seen = spreadRows(count, ROWS).map((i) => rows?.[i] ?? i);
  let [units, images] = [0, 0];
  for (const row of await dataset.readRows(seen)) {
    if (row instanceof BrokenRowError || !(row.image instanceof Uint8Array)) continue;
    const { width = 0, height = 0 } = readImageHeader(row.image) ?? {};
    if (width === 0 || height === 0 || width * height > maxPixels) continue;
    units += unitsOf({ width, height });
    images++;
  }
  return images === 0 ? 0 : Math.ceil(units / images * count) * UNIT;
}

/** How much memory the decoded images of some data take. */
import { BrokenRowError, type Dataset } from "./dataset.ts";
import { decodedSize } from "./decode.ts";
import { spreadRows } from "./fingerprint.ts";
import { UNIT, unitsOf } from "./image_cache_table.ts";
import { readImageHeader } from "./image_header.ts";
import { readInParts } from "./read_in_parts.ts";

/** Rows that are looked at. */
const ROWS = 256;

/** Which images a cache holds. */
export interface CachedRows {
  /** A larger image counts as broken, and is not kept. */
  maxPixels?: number;
  /** JPEGs whose shorter side stays so long are decoded at a fraction of their size. */
  leastSide?: number;
  /** Numbers of their rows; all where it is left out. */
  rows?: Uint32Array;
}

/**
 * Returns the bytes that a cache of images takes, by the headers of some of them; 0 where none is to be decoded: the
 * data has pixels, or nothing that can be used.
 */
export async function estimateDecodedBytes(
  dataset: Dataset,
  { maxPixels = Infinity, leastSide, rows }: CachedRows = {},
): Promise<number> {
  const count = rows?.length ?? dataset.rowCount;
  const seen = spreadRows(count, ROWS).map((i) => rows?.[i] ?? i);
  let [units, images] = [0, 0];
  for await (const rows of readInParts(dataset, seen)) {
    for (const row of rows) {
      if (row instanceof BrokenRowError || !(row.image instanceof Uint8Array)) continue;
      const header = readImageHeader(row.image);
      if (header === undefined || header.width * header.height === 0) continue;
      if (header.width * header.height > maxPixels) continue;
      units += unitsOf(decodedSize(header, { leastSide }));
      images++;
    }
  }
  return images === 0 ? 0 : Math.ceil(units / images * count) * UNIT;
}

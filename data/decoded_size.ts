/** How much memory the decoded images of some data take. */
import { BrokenRowError, type Dataset } from "./dataset.ts";
import { spreadRows } from "./fingerprint.ts";
import { UNIT, unitsOf } from "./image_cache_table.ts";
import { readImageHeader } from "./image_header.ts";

/** Rows that are looked at. */
const ROWS = 256;

/**
 * Returns the bytes that a cache of all images takes, by the headers of some of them; 0 where none is to be decoded: the
 * data has pixels, or nothing that can be used.
 *
 * @param maxPixels a larger image counts as broken, and is not kept
 */
export async function estimateDecodedBytes(dataset: Dataset, maxPixels: number = Infinity): Promise<number> {
  let [units, images] = [0, 0];
  for (const row of await dataset.readRows(spreadRows(dataset.rowCount, ROWS))) {
    if (row instanceof BrokenRowError || !(row.image instanceof Uint8Array)) continue;
    const { width = 0, height = 0 } = readImageHeader(row.image) ?? {};
    if (width === 0 || height === 0 || width * height > maxPixels) continue;
    units += unitsOf({ width, height });
    images++;
  }
  return images === 0 ? 0 : Math.ceil(units / images * dataset.rowCount) * UNIT;
}

/** A sample of many rows, that every machine draws alike. */
import { Random } from "./random.ts";

/**
 * Chooses rows spread over all, one of each of as many equal parts: where rows are sorted by class, each class has its share.
 *
 * @param rowCount rows that there are
 * @param count rows that are chosen, fewer than there are
 * @param seed decides which
 * @returns numbers of the rows, ascending
 */
export function sampleRows(rowCount: number, count: number, seed: number): Uint32Array<ArrayBuffer> {
  const random = new Random(seed, "row sample");
  const begin = (part: number) => Math.floor(part * rowCount / count);
  return Uint32Array.from(
    { length: count },
    (_, part) => Math.floor(random.uniform(begin(part), begin(part + 1))),
  );
}

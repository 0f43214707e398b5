/** Which images of a labelled data set a semi-supervised evaluation learns from: a fixed share of each class. */
import { Random } from "./random.ts";

/**
 * Chooses a share of the rows of each class, as SimCLR's lists of 1 % and 10 % of ImageNet do: a row is chosen by the seed and
 * its label alone. The rows of a smaller share are among those of a larger one.
 *
 * @param labels of every row, [n]; rows with a label below 0 are never chosen
 * @param fraction above 0, up to 1; of a class of m rows, `round(fraction * m)` are taken, and one at least
 * @returns numbers of the rows, ascending
 */
export function chooseLabelFraction(
  labels: ArrayLike<number>,
  fraction: number,
  seed: number,
): Uint32Array<ArrayBuffer> {
  const rowsOf = new Map<number, number[]>();
  for (let row = 0; row < labels.length; row++) {
    const label = labels[row];
    if (label < 0) continue;
    const rows = rowsOf.get(label);
    if (rows === undefined) rowsOf.set(label, [row]);
    else rows.push(row);
  }
  const chosen = [...rowsOf].flatMap(([label, rows]) => {
    const count = Math.max(1, Math.round(fraction * rows.length));
    const order = new Random(seed, "label fraction", label).permutation(rows.length);
    return Array.from(order.subarray(0, count), (place) => rows[place]);
  });
  return Uint32Array.from(chosen).sort();
}

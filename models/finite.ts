/** Numbers that are not finite: weights that hold some are refused where they are read, and never written. */

/** What {@linkcode findNotFinite} found. */
export interface NotFinite {
  /** Index of the first one. */
  first: number;
  /** NaN, Infinity or -Infinity. */
  value: number;
  /** How many there are. */
  count: number;
}

/** Of a float32: all are set in what is infinite or NaN, and in nothing else. */
const EXPONENT = 0x7f800000;

/** Finds NaN and infinities; `undefined` where all numbers are finite. */
export function findNotFinite(values: Float32Array): NotFinite | undefined {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  let first = 0;
  while (first < bits.length && (bits[first] & EXPONENT) !== EXPONENT) first++;
  if (first === bits.length) return undefined;
  let count = 0;
  for (let i = first; i < bits.length; i++) if ((bits[i] & EXPONENT) === EXPONENT) count++;
  return { first, value: values[first], count };
}

/**
 * What is wrong with an entry of a state_dict, in words that follow its file's name; `undefined` where nothing is. A
 * running variance below zero is wrong too: its square root is NaN.
 *
 * @param key the entry's
 * @param offset index in the entry of the first value, where some of its rows are given
 */
export function describeBadEntry(key: string, values: Float32Array, offset = 0): string | undefined {
  const found = findNotFinite(values);
  if (found !== undefined) {
    const { first, value, count } = found;
    const [numbers, are] = count === 1
      ? ["1 value", "is"]
      : [`${count.toLocaleString("en-US")} values`, "are"];
    return `${key} holds ${value} at index ${offset + first} (${numbers} ${are} not finite)`;
  }
  if (!key.endsWith("running_var")) return undefined;
  const below = values.findIndex((value) => value < 0);
  return below < 0
    ? undefined
    : `${key} holds ${values[below]} at index ${offset + below}, but a variance cannot be negative`;
}

/** What is to be done about a file with such an entry. */
export const USE_ANOTHER_FILE =
  "the file cannot be used: use an earlier checkpoint, or copy or download it again " +
  "(`deno task inspect --stats` counts such values in every tensor)";

/**
 * The table of a cache of decoded images, in memory that all reader Workers share: a record for each row of the data. A record
 * without a size is of a row that is not there. A reader writes the pixels first, then the rest of the record, and the size
 * last and atomically: a row is whole or absent, whenever a reader crashes.
 */

/** uint32 words of a record: width and height, label, place, checksum. */
export const RECORD = 4;
const [SIZE, LABEL, PLACE, CHECKSUM] = [0, 1, 2, 3];

/** Bytes that places are counted in. */
export const UNIT = 256;

/** Units that a table can count: a tebibyte. */
const MOST_UNITS = 2 ** 32 - 1;

/** Words before the records: whether more rows are taken, and the units that are used. */
const HEADER = 2;
const [CLOSED, USED] = [0, 1];

/** What a record says of a row. */
export interface CachedRow {
  /** Number of the row, from 0. */
  row: number;
  /** In pixels. */
  width: number;
  /** In pixels. */
  height: number;
  /** An int32. */
  label: number;
  /** Where its pixels are, in {@linkcode UNIT}s. */
  place: number;
  /** Of the pixels and the rest of the record; 0 in memory. */
  checksum: number;
}

/** Bytes of an image's pixels, RGB8. */
export function rgbBytes({ width, height }: { width: number; height: number }): number {
  return 3 * width * height;
}

/** Units that an image takes. */
export function unitsOf(image: { width: number; height: number }): number {
  return Math.ceil(rgbBytes(image) / UNIT);
}

/** Reads a record of {@linkcode RECORD} words; `undefined` where its row is not there. */
export function readRecord(words: Uint32Array, row: number): CachedRow | undefined {
  const size = words[SIZE];
  if (size === 0) return undefined;
  const [width, height] = [size >>> 16, size & 0xffff];
  return { row, width, height, label: words[LABEL] | 0, place: words[PLACE], checksum: words[CHECKSUM] };
}

/** The record of a row, [{@linkcode RECORD}]. */
export function recordOf({ width, height, label, place, checksum }: CachedRow): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(RECORD);
  words[SIZE] = width * 65536 + height;
  words[LABEL] = label;
  words[PLACE] = place;
  words[CHECKSUM] = checksum;
  return words;
}

/** A table, as one Worker sees it. */
export class CacheTable {
  readonly #words: Uint32Array;

  /** @param memory of {@linkcode CacheTable.allocate} */
  constructor(memory: SharedArrayBuffer) {
    this.#words = new Uint32Array(memory);
  }

  /** Memory for a table of so many rows, all of them absent. */
  static allocate(rows: number): SharedArrayBuffer {
    return new SharedArrayBuffer(4 * (HEADER + RECORD * rows));
  }

  /** How many rows there are, and how many of them are absent no more. */
  count(): { rows: number; kept: number } {
    const rows = (this.#words.length - HEADER) / RECORD;
    let kept = 0;
    for (let row = 0; row < rows; row++) if (this.has(row)) kept++;
    return { rows, kept };
  }

  /** Whether a row is there. */
  has(row: number): boolean {
    return Atomics.load(this.#words, this.#at(row) + SIZE) !== 0;
  }

  /** What is said of a row; `undefined` where it is not there. */
  get(row: number): CachedRow | undefined {
    if (!this.has(row)) return undefined; // read atomically, before the rest of the record
    const at = this.#at(row);
    return readRecord(this.#words.subarray(at, at + RECORD), row);
  }

  /** Says that a row is there: its pixels are. */
  publish(row: CachedRow): void {
    const at = this.#at(row.row);
    const words = recordOf(row);
    this.#words.set(words.subarray(SIZE + 1), at + SIZE + 1);
    Atomics.store(this.#words, at + SIZE, words[SIZE]);
  }

  /** Makes a row absent. */
  forget(row: number): void {
    Atomics.store(this.#words, this.#at(row) + SIZE, 0);
  }

  /** Says that the units before this one are used. */
  setUsed(units: number): void {
    Atomics.store(this.#words, USED, units);
  }

  /**
   * Takes some units, of as many as there may be.
   *
   * @returns the first; `undefined` where there are not so many
   */
  reserve(units: number, there: number): number | undefined {
    const most = Math.min(MOST_UNITS, there);
    for (let used = Atomics.load(this.#words, USED);;) {
      if (used + units > most) return undefined;
      const before = Atomics.compareExchange(this.#words, USED, used, used + units);
      if (before === used) return used;
      used = before;
    }
  }

  /** Whether more rows are taken. */
  get isOpen(): boolean {
    return this.#words[CLOSED] === 0;
  }

  /** Takes no more rows. @returns whether nobody has said so before */
  close(): boolean {
    return Atomics.exchange(this.#words, CLOSED, 1) === 0;
  }

  #at(row: number): number {
    return HEADER + RECORD * row;
  }
}

/** Sources of rows into TSV files with their `.lineidx`; or looked through without writing anything. */
import { UserError } from "../../errors.ts";
import { BrokenRowError, type Dataset } from "../dataset.ts";
import { BrokenImageError, decodeUnwritten } from "../decode.ts";
import { lineIndexPath, Offsets, writeLineIndex } from "../line_index.ts";
import { Random } from "../random.ts";
import { explained, replaceFiles, writeAll } from "../replace_file.ts";
import { makeTemporaryFolder } from "../temporary.ts";
import { TsvFile } from "../tsv.ts";
import type { OpenedSources } from "./open_sources.ts";
import { rowsOf, type RowSource, type SourceRow } from "./row_source.ts";
import { RowStatistics } from "./row_statistics.ts";

/** Rows that are looked at side by side, and bytes of their images: one that has more is looked at alone. */
const WINDOW_ROWS = 8;
const WINDOW_BYTES = 64 << 20;
/** Text is collected up to this many characters before it is written. */
const WRITE_CHARACTERS = 1 << 20;

/** What becomes of the rows. */
export interface ConvertOptions {
  /** Path of the TSV file for the rows to train on. */
  train: string;
  /** Path of that for the rows to test on. */
  test: string;
  /** Rows to put into the test file, as a share below 1 or as a number; `null` for those that the sources have. */
  split: number | null;
  /** Whether the rows come in a random order. */
  shuffle: boolean;
  /** Of the random order, and of which rows are the test rows. */
  seed: number;
  /** Rows of each file at most; `null` for all. */
  limit: number | null;
  /** Whether each image is decoded; those that cannot be are left out. */
  check: boolean;
  /** Pixels that an image may have where it is decoded; by default as in `decodeImage`. */
  maxPixels?: number;
  /** Path and text of a list of class names that is to be written with the files. */
  classes?: { path: string; text: string };
}

/** A file that was written. */
export interface Converted {
  path: string;
  /** Size of the TSV file. */
  bytes: number;
  statistics: RowStatistics;
}

/** What is told while rows pass. */
export interface RowEvents {
  /** Rows that were read so far, of how many where that is known. */
  onRow?(done: number, total: number | undefined): void;
  /** A row that cannot be used. */
  onBrokenRow?(error: BrokenRowError): void;
  /** Something that takes a while begins. */
  onNote?(text: string): void;
}

/**
 * Writes sources to TSV files. None takes its name before all are written: an error or an abort leaves what was there.
 *
 * @returns what was written: the train file, and the test file where there are test rows
 * @throws {UserError} where sources cannot be read, a file cannot be written, or no row is left for it
 */
export async function convert(
  sources: OpenedSources,
  options: ConvertOptions,
  events: RowEvents = {},
  signal?: AbortSignal,
): Promise<Converted[]> {
  const { train, test, split, shuffle, limit } = options;
  using stack = new DisposableStack();
  const reach = async (part: readonly RowSource[], path: string) =>
    stack.use(await reachable(part, path, options, events, signal));
  const partFrom = async (part: readonly RowSource[], path: string): Promise<Part> => {
    if (!shuffle) return { path, ...firstRows(part, limit), check: options.check };
    const data = await reach(part, path);
    return partOf(path, data, orderOf(data, options), options);
  };
  let parts: Part[];
  if (split !== null) {
    parts = splitParts(await reach(sources.train, train), split, options);
  } else {
    parts = [await partFrom(sources.train, train)];
    if (sources.test.length > 0) parts.push(await partFrom(sources.test, test));
  }
  return await write(parts, options, events, signal);
}

/** The order of rows before some of them are chosen. */
function orderOf({ dataset: { rowCount } }: ReachableRows, { shuffle, seed }: ConvertOptions): Uint32Array {
  return shuffle
    ? new Random(seed, "order", 0).permutation(rowCount)
    : Uint32Array.from({ length: rowCount }, (_, row) => row);
}

/** The rows of both files where some are split off for the test file. */
function splitParts(data: ReachableRows, split: number, options: ConvertOptions): Part[] {
  const { train, test, seed } = options;
  const count = data.dataset.rowCount;
  const testRows = split < 1 ? Math.round(split * count) : split;
  if (testRows < 1 || testRows >= count) {
    throw new UserError(
      `--split: expected rows for both files, but it moves ${testRows} of ${count} rows to test.tsv`,
    );
  }
  const held = new Set(new Random(seed, "split").permutation(count).subarray(0, testRows));
  const order = orderOf(data, options);
  const part = (path: string, isHeld: boolean) =>
    partOf(path, data, order.filter((row) => held.has(row) === isHeld), options);
  return [part(train, false), { ...part(test, true), broken: 0 }];
}

/** Rows that can be reached by number. */
interface ReachableRows extends Disposable {
  dataset: Dataset;
  /** Whether their images have been decoded, and rows without one left out. */
  isChecked: boolean;
  /** How many rows were left out. */
  broken: number;
  /** Width and height of the image of each row, one after the other, where they have been decoded. */
  sizes?: readonly number[];
}

/** A TSV file that is to be written. */
interface Part {
  path: string;
  /** The file that the rows are for, where this one is temporary. */
  destination?: string;
  rows: AsyncIterable<SourceRow | BrokenRowError>;
  /** How many they are, where that is known. */
  total: number | undefined;
  /** Whether each image is still to be decoded. */
  check: boolean;
  /** Rows that have been left out already; none by default. */
  broken?: number;
  /** Gets the width and height of each image that was decoded. */
  sizes?: number[];
}

/** Rows of data in a given order, as many as are wished. */
function partOf(path: string, data: ReachableRows, order: Uint32Array, options: ConvertOptions): Part {
  const { limit, check } = options;
  const rows = order.subarray(0, limit ?? order.length);
  return {
    path,
    rows: sizedRowsOf(data, rows),
    total: rows.length,
    check: check && !data.isChecked,
    broken: data.broken,
  };
}

async function* sizedRowsOf(
  { dataset, sizes }: ReachableRows,
  order: Uint32Array,
): AsyncGenerator<SourceRow | BrokenRowError> {
  let i = 0;
  for await (const row of rowsOf(dataset, order)) {
    const at = 2 * order[i++];
    yield row instanceof BrokenRowError || sizes === undefined
      ? row
      : { ...row, size: { width: sizes[at], height: sizes[at + 1] } };
  }
}

/**
 * Decodes every image, of the first rows only where there is a limit, and writes nothing.
 *
 * @throws {UserError} where sources cannot be read, or have no rows
 */
export async function checkSources(
  sources: readonly RowSource[],
  events: RowEvents = {},
  signal?: AbortSignal,
  { maxPixels, limit = null }: Partial<Pick<ConvertOptions, "maxPixels" | "limit">> = {},
): Promise<RowStatistics> {
  const statistics = new RowStatistics();
  const options = { check: true, maxPixels };
  const { rows, total } = firstRows(sources, limit);
  for await (const _ of checked(rows, statistics, options, total, events, signal));
  if (statistics.rows + statistics.broken === 0) {
    throw new UserError(`${sources.map(({ path }) => path).join(", ")}: expected rows to check, found none`);
  }
  return statistics;
}

/**
 * Rows in any order need data that can be reached by number: archives are written to a temporary TSV file first. Their images
 * are checked on the way there, where a message can still say where a broken one is.
 */
async function reachable(
  sources: readonly RowSource[],
  beside: string,
  options: ConvertOptions,
  events: RowEvents,
  signal: AbortSignal | undefined,
): Promise<ReachableRows> {
  if (sources.length === 1 && sources[0].dataset !== undefined) {
    return { dataset: sources[0].dataset, isChecked: false, broken: 0, [Symbol.dispose]() {} };
  }
  using stack = new DisposableStack();
  const temporary = stack.use(makeTemporaryFolder(beside));
  const path = `${temporary.path}/rows.tsv`;
  events.onNote?.("writing the rows to a temporary file first, to read them in any order");
  const { check, maxPixels } = options;
  const sizes = check ? [] : undefined;
  const all = {
    path,
    destination: beside,
    rows: concatenated(sources),
    total: countOf(sources),
    check,
    sizes,
  };
  const [{ statistics: { broken } }] = await write([all], { maxPixels }, events, signal);
  const dataset = stack.use(await TsvFile.open(path));
  const kept = stack.move();
  return { dataset, isChecked: check, broken, sizes, [Symbol.dispose]: () => kept.dispose() };
}

/** Rows of sources in their order, as many as are wished, and how many that are where it is known. */
function firstRows(
  sources: readonly RowSource[],
  limit: number | null,
): { rows: AsyncIterable<SourceRow | BrokenRowError>; total: number | undefined } {
  const known = countOf(sources);
  return {
    rows: take(concatenated(sources), limit ?? Infinity),
    total: limit === null ? known : Math.min(limit, known ?? limit),
  };
}

function countOf(sources: readonly RowSource[]): number | undefined {
  const counts = sources.map(({ rowCount }) => rowCount);
  return counts.includes(undefined) ? undefined : counts.reduce((sum, count) => sum! + count!, 0);
}

async function* concatenated(sources: readonly RowSource[]): AsyncGenerator<SourceRow | BrokenRowError> {
  for (const source of sources) yield* source.rows();
}

async function* take<T>(items: AsyncIterable<T>, count: number): AsyncGenerator<T> {
  let taken = 0;
  for await (const item of items) {
    yield item;
    if (++taken >= count) return;
  }
}

/** Lets good rows through, and counts. */
async function* checked(
  rows: AsyncIterable<SourceRow | BrokenRowError>,
  statistics: RowStatistics,
  { check, maxPixels }: Pick<ConvertOptions, "check" | "maxPixels">,
  total: number | undefined,
  { onRow, onBrokenRow }: RowEvents,
  signal: AbortSignal | undefined,
): AsyncGenerator<SourceRow> {
  let done = 0;
  const look = async (row: SourceRow | BrokenRowError): Promise<SourceRow | BrokenRowError> => {
    if (row instanceof BrokenRowError) return row;
    if (row.image.length === 0) return row.broken("expected an image, found an empty file");
    if (!check) return row;
    try {
      const { width, height } = await decodeUnwritten(row.image, { maxPixels });
      return { ...row, size: { width, height } };
    } catch (error) {
      if (!(error instanceof BrokenImageError)) throw error;
      return row.broken(error.message);
    }
  };
  for await (const window of windows(rows, check ? WINDOW_ROWS : 1)) {
    for (const row of await Promise.all(window.map(look))) {
      signal?.throwIfAborted();
      onRow?.(++done, total);
      if (row instanceof BrokenRowError) {
        statistics.broken++;
        onBrokenRow?.(row);
      } else {
        statistics.add(row.label, row.size);
        yield row;
      }
    }
  }
}

/** Rows in groups, none of them of more bytes than one row may have and a window of others. */
async function* windows(
  rows: AsyncIterable<SourceRow | BrokenRowError>,
  size: number,
): AsyncGenerator<(SourceRow | BrokenRowError)[]> {
  let window: (SourceRow | BrokenRowError)[] = [];
  let bytes = 0;
  for await (const row of rows) {
    bytes += row instanceof BrokenRowError ? 0 : row.image.length;
    if (window.push(row) < size && bytes < WINDOW_BYTES) continue;
    yield window;
    window = [];
    bytes = 0;
  }
  if (window.length > 0) yield window;
}

/** Writes TSV files and the list of their classes, which take their names when all are written, then their indexes. */
async function write(
  parts: readonly Part[],
  { maxPixels, classes }: Pick<ConvertOptions, "maxPixels" | "classes">,
  events: RowEvents,
  signal: AbortSignal | undefined,
): Promise<Converted[]> {
  const written: (Converted & { offsets: Offsets })[] = [];
  // The train file takes its name last: it may be the source, and the other rows must be in their file then.
  const named = [...classes === undefined ? [] : [classes], ...parts.toReversed()];
  await replaceFiles(named.map(({ path }) => path), async (files) => {
    for (const [i, part] of parts.entries()) {
      const file = files.at(-1 - i)!;
      await explained(part.path, async () => {
        written.push(await writeRows(file, part, maxPixels, events, signal));
      });
    }
    if (classes !== undefined) writeAll(files[0], new TextEncoder().encode(classes.text));
    signal?.throwIfAborted();
  });
  for (const { path, offsets } of written) await writeLineIndex(lineIndexPath(path), offsets.take());
  return written.map(({ path, bytes, statistics }) => ({ path, bytes, statistics }));
}

/** Writes the rows of a TSV file, and finds where each begins. */
async function writeRows(
  file: Deno.FsFile,
  { path, destination = path, rows, total, check, broken = 0, sizes }: Part,
  maxPixels: number | undefined,
  events: RowEvents,
  signal: AbortSignal | undefined,
): Promise<Converted & { offsets: Offsets }> {
  const statistics = new RowStatistics();
  const offsets = new Offsets();
  const encoder = new TextEncoder();
  let bytes = 0;
  let waiting = "";
  const flush = () => {
    writeAll(file, encoder.encode(waiting));
    waiting = "";
  };
  for await (
    const { key, label, image, size } of checked(
      rows,
      statistics,
      { check, maxPixels },
      total,
      events,
      signal,
    )
  ) {
    // What would end the column or the row.
    const name = key.replaceAll(/[\t\r\n]/g, " ").toWellFormed();
    const line = `${name}\t${label}\t${image.toBase64()}\n`;
    offsets.push(bytes);
    if (size !== undefined) sizes?.push(size.width, size.height);
    bytes += line.length + encoder.encode(name).length - name.length;
    waiting += line;
    if (waiting.length >= WRITE_CHARACTERS) flush();
  }
  flush();
  if (statistics.rows === 0) {
    throw new UserError(`${destination}: no rows are left for it; nothing was written`);
  }
  statistics.broken += broken;
  return { path, bytes, statistics, offsets };
}

/**
 * `.lineidx` files: the byte offset at which each row of a TSV starts, in decimal, one a line. They are what lets a row
 * be reached with one seek. The original SEED makes `train.lineidx` beside `train.tsv` when it is missing; so do we.
 */
import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { UserError } from "../errors.ts";
import { cacheFolder } from "./cache_folder.ts";
import { replaceFile, writeAll } from "./replace_file.ts";
import { describeKind } from "./stat_or_explain.ts";

const NEWLINE = 10;
const CARRIAGE_RETURN = 13;
const SCAN_BYTES = 4 << 20;
const PARSE_BYTES = 1 << 20;
/** Offsets compared with the TSV each time an index is opened, spread evenly; the last one comes on top. */
const SAMPLES = 64;
/** The same where the TSV is newer than its index, as it may have been edited. */
const SAMPLES_WHEN_NEWER = 4096;

/** Options for `openLineIndex`. */
export interface LineIndexOptions {
  /** Called with a message when an index was rebuilt or could not be saved. */
  onWarning?(message: string): void;
  /** Called with the number of bytes read, if a whole file must be read to find its rows. */
  onProgress?(done: number, total: number): void;
  /** Ends that reading. What awaits it rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** An index does not belong to its TSV. The message names the file, the line, and what to do. */
export class LineIndexError extends UserError {
  /** Name of the error class. */
  override name = "LineIndexError";

  /**
   * An error about one index.
   *
   * @param message what a person reads
   * @param mayBeStale `true` where an earlier version of the TSV could explain it; `false` where the file can be no
   * index of anything (cut in the middle of a number, not numbers, not ascending)
   */
  constructor(message: string, readonly mayBeStale: boolean) {
    super(message);
  }
}

/** `data/train.tsv` to `data/train.lineidx`, as the original names it. */
export function lineIndexPath(tsvPath: string): string {
  return tsvPath.replace(/(?<=[^/])\.[^./]*$/, "") + ".lineidx";
}

/** Grows by doubling; offsets pass 2^32, so they are kept as float64 (exact up to 2^53). */
export class Offsets {
  #values = new Float64Array(1024);
  /** How many there are. */
  length = 0;

  /** Adds one to the end. */
  push(value: number): void {
    if (this.length === this.#values.length) {
      const larger = new Float64Array(2 * this.length);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.length++] = value;
  }

  /** All of them, [length]. */
  take(): Float64Array<ArrayBuffer> {
    return this.#values.slice(0, this.length);
  }
}

/**
 * Finds where each row starts by reading the file once from end to end, 4 MiB at a time.
 *
 * @returns byte offsets, [rows]; an empty file has none. A last row without a line end counts
 */
export async function scanLineOffsets(
  tsvPath: string,
  { onProgress, signal }: Pick<LineIndexOptions, "onProgress" | "signal"> = {},
): Promise<Float64Array<ArrayBuffer>> {
  using file = await Deno.open(tsvPath);
  const { size } = await file.stat();
  const buffer = new Uint8Array(SCAN_BYTES);
  const offsets = new Offsets();
  let start = 0;
  let atLineStart = true;
  for (let read; (read = await file.read(buffer)) !== null; start += read) {
    const chunk = buffer.subarray(0, read);
    for (let i = 0; i < read;) {
      if (atLineStart) offsets.push(start + i);
      const end = chunk.indexOf(NEWLINE, i);
      atLineStart = end !== -1;
      i = atLineStart ? end + 1 : read;
    }
    onProgress?.(start + read, size);
    signal?.throwIfAborted();
  }
  return offsets.take();
}

function* encodeOffsets(offsets: Float64Array): Generator<Uint8Array> {
  const encoder = new TextEncoder();
  for (let i = 0; i < offsets.length; i += 65536) {
    yield encoder.encode(offsets.subarray(i, i + 65536).join("\n") + "\n");
  }
}

/** Writes an index so that others see either nothing or all of it. */
export async function writeLineIndex(indexPath: string, offsets: Float64Array): Promise<void> {
  await replaceFile(indexPath, (file) => {
    for (const bytes of encodeOffsets(offsets)) writeAll(file, bytes);
    return Promise.resolve();
  });
}

/**
 * Reads an index and compares it with its TSV: offsets ascend from 0, none lies outside the file, a sample of them
 * comes right after a line end, and the last one starts the TSV's last row. (`TsvFile` checks each row that it reads.)
 *
 * @param samples how many offsets to compare, besides the last
 * @returns byte offsets, [rows]
 * @throws LineIndexError where the two contradict each other
 */
export async function readLineIndex(
  indexPath: string,
  tsvPath: string,
  samples: number = SAMPLES,
): Promise<Float64Array<ArrayBuffer>> {
  using tsv = await Deno.open(tsvPath);
  const { size } = await tsv.stat();
  const { offsets, complete } = await parseLineIndex(indexPath, tsvPath, size);
  const stride = Math.max(1, offsets.length / samples);
  for (let at = stride; at < offsets.length - 1; at += stride) {
    checkRowStart(tsv, offsets, Math.floor(at), indexPath, tsvPath, true);
  }
  checkRowStart(tsv, offsets, offsets.length - 1, indexPath, tsvPath, complete);
  await checkLastRow(tsv, offsets, size, indexPath, tsvPath);
  return offsets;
}

/** Where the index of a TSV is kept that lies in a folder which cannot be written to; `undefined` where nowhere. */
async function keptIndexPath(tsvPath: string): Promise<string | undefined> {
  const folder = cacheFolder();
  if (folder === undefined) return undefined;
  const path = join(folder, "lineidx");
  const states = (["read", "write"] as const).map((name) => Deno.permissions.querySync({ name, path }).state);
  if (states.some((state) => state !== "granted")) return undefined;
  const place = createHash("sha256").update(await Deno.realPath(tsvPath)).digest("hex").slice(0, 16);
  return join(path, `${place}-${basename(lineIndexPath(tsvPath))}`);
}

async function statIndex(path: string): Promise<Deno.FileInfo | undefined> {
  const info = await Deno.stat(path).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
  if (info !== undefined && !info.isFile) {
    throw new UserError(`${path}: expected a file with row offsets, found ${describeKind(info)}.`);
  }
  return info;
}

/**
 * Saves an index beside its TSV, or where that cannot be, at `kept`.
 *
 * @returns where it is, if anywhere, and what to warn of
 */
async function saveLineIndex(
  indexPath: string,
  kept: string | undefined,
  offsets: Float64Array,
): Promise<{ path?: string; warning?: string }> {
  try {
    await writeLineIndex(indexPath, offsets);
    return { path: indexPath };
  } catch (error) {
    const problem = `${indexPath} could not be saved (${(error as Error).message})`;
    if (kept !== undefined) {
      try {
        await Deno.mkdir(dirname(kept), { recursive: true });
        await writeLineIndex(kept, offsets);
        return { path: kept, warning: `${problem}; the row offsets are kept in ${kept}.` };
      } catch {
        // The first problem is the one to tell of.
      }
    }
    return {
      warning: `${problem}; the row offsets are kept in memory, and must be computed again next time.`,
    };
  }
}

/**
 * The offsets of a TSV's rows: from its `.lineidx` where that fits; made and saved where there is none; made again,
 * with a warning, where the TSV is newer and the index no longer fits. Where it cannot be saved beside the TSV (a
 * read-only folder) it is kept in the user's cache folder, and where that is not to be had in memory alone, with a warning.
 *
 * Several Workers may do this at once; each then scans the file, so open it in one place before starting them.
 *
 * @returns byte offsets, [rows], at least one, and the path of their file; none where they are in memory alone
 * @throws LineIndexError where an index contradicts a TSV that is not newer, or is damaged
 * @throws UserError where the TSV is empty
 */
export async function openLineIndex(
  tsvPath: string,
  options: LineIndexOptions = {},
): Promise<{ offsets: Float64Array<ArrayBuffer>; path?: string }> {
  const beside = lineIndexPath(tsvPath);
  const tsv = await Deno.stat(tsvPath);
  if (tsv.size === 0) {
    throw new UserError(
      `${tsvPath} is empty: expected one row per line (key, label, base64 image, separated by tabs).`,
    );
  }
  let indexPath = beside;
  let index = await statIndex(beside);
  const kept = index === undefined ? await keptIndexPath(tsvPath) : undefined;
  if (kept !== undefined) {
    indexPath = kept;
    index = await statIndex(kept);
  }
  if (index !== undefined) {
    const newer = tsv.mtime !== null && index.mtime !== null && tsv.mtime > index.mtime;
    try {
      const offsets = await readLineIndex(indexPath, tsvPath, newer ? SAMPLES_WHEN_NEWER : SAMPLES);
      return { offsets, path: indexPath };
    } catch (error) {
      if (error instanceof Deno.errors.PermissionDenied) {
        throw new UserError(`${indexPath} cannot be read: ${error.message}.`, { cause: error });
      }
      if (!(error instanceof LineIndexError)) throw error;
      // Only we write the kept one, so that it is another TSV's that had the same path.
      if (indexPath !== kept && !(error.mayBeStale && newer)) throw error;
      const age = newer ? `is older than ${tsvPath} and no longer matches it` : `does not match ${tsvPath}`;
      options.onWarning?.(`${indexPath} ${age}; it is being rebuilt.`);
    }
  }
  const offsets = await scanLineOffsets(tsvPath, options);
  const { size } = await Deno.stat(tsvPath);
  if (size !== tsv.size) {
    throw new UserError(
      `${tsvPath} changed while it was being indexed (${tsv.size} bytes, then ${size}). ` +
        "Rerun when it is complete.",
    );
  }
  const { path, warning } = await saveLineIndex(beside, kept, offsets);
  if (warning !== undefined) options.onWarning?.(warning);
  return { offsets, path };
}

function deleteIt(indexPath: string): string {
  return `Delete ${indexPath} to rebuild it.`;
}

/** Reads the numbers; `complete` tells whether the last one is followed by a line end. */
async function parseLineIndex(
  indexPath: string,
  tsvPath: string,
  tsvSize: number,
): Promise<{ offsets: Float64Array<ArrayBuffer>; complete: boolean }> {
  using file = await Deno.open(indexPath);
  const buffer = new Uint8Array(PARSE_BYTES);
  const offsets = new Offsets();
  let digits = "";
  let previous = -1;

  const fail = (expected: string, complete: boolean, mayBeStale: boolean): never => {
    const cut = complete ? "" : " (the file seems to be truncated there)";
    throw new LineIndexError(
      `${indexPath} line ${offsets.length + 1}: expected ${expected}, found ${
        JSON.stringify(digits)
      }${cut}. ` +
        deleteIt(indexPath),
      mayBeStale && complete,
    );
  };
  const add = (complete: boolean) => {
    const line = digits.endsWith("\r") ? digits.slice(0, -1) : digits;
    if (!/^\d{1,16}$/.test(line)) fail("a byte offset in decimal", complete, false);
    const value = Number(line);
    if (offsets.length === 0 && value !== 0) fail("0, where the first row starts", complete, false);
    if (offsets.length > 0 && value <= previous) {
      fail(`an offset above the one before it, ${previous}`, complete, false);
    }
    if (value >= tsvSize) {
      fail(`an offset inside ${tsvPath}, which has ${tsvSize} bytes`, complete, true);
    }
    offsets.push(value);
    previous = value;
    digits = "";
  };

  for (let read; (read = await file.read(buffer)) !== null;) {
    for (let i = 0; i < read; i++) {
      if (buffer[i] === NEWLINE) {
        add(true);
      } else {
        digits += String.fromCharCode(buffer[i]);
        if (digits.length > 32) fail("a byte offset in decimal", true, false);
      }
    }
  }
  const complete = digits === "";
  if (!complete) add(false);
  if (offsets.length === 0) {
    throw new LineIndexError(
      `${indexPath} is empty: expected the byte offset of each row of ${tsvPath}, one per line. ` +
        deleteIt(indexPath),
      false,
    );
  }
  return { offsets: offsets.take(), complete };
}

function checkRowStart(
  tsv: Deno.FsFile,
  offsets: Float64Array,
  row: number,
  indexPath: string,
  tsvPath: string,
  complete: boolean,
): void {
  if (row === 0) return;
  const before = new Uint8Array(1);
  tsv.seekSync(offsets[row] - 1, Deno.SeekMode.Start);
  tsv.readSync(before);
  if (before[0] === NEWLINE) return;
  if (before[0] === CARRIAGE_RETURN) {
    // Python's text files have such rows, so the original's index may too.
    throw new LineIndexError(
      `${indexPath} line ${row + 1}: expected a row of ${tsvPath} after a line feed, found one at byte ${
        offsets[row]
      } after a carriage ` +
        "return alone (old Mac line ends). Convert the file, for example with " +
        "`tr '\\r' '\\n' < old.tsv > new.tsv`; the offsets stay the same.",
      false,
    );
  }
  throw new LineIndexError(
    `${indexPath} line ${row + 1}: expected the byte offset where row ${row + 1} of ${tsvPath} starts, ` +
      `found ${offsets[row]}, where no row starts${
        complete ? "" : " (the file seems to be truncated there)"
      }. ` +
      deleteIt(indexPath),
    complete,
  );
}

async function checkLastRow(
  tsv: Deno.FsFile,
  offsets: Float64Array,
  size: number,
  indexPath: string,
  tsvPath: string,
): Promise<void> {
  const last = offsets[offsets.length - 1];
  const buffer = new Uint8Array(Math.min(size - last, 1 << 16));
  await tsv.seek(last, Deno.SeekMode.Start);
  let position = last;
  for (let read; (read = await tsv.read(buffer)) !== null; position += read) {
    const end = buffer.subarray(0, read).indexOf(NEWLINE);
    if (end === -1) continue;
    const next = position + end + 1;
    if (next === size) return;
    throw new LineIndexError(
      `${indexPath} ends after line ${offsets.length}: expected an offset for every row of ${tsvPath}, which ` +
        `has another row at byte ${next} of ${size}. ${deleteIt(indexPath)}`,
      true,
    );
  }
}

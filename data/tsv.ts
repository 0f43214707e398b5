/**
 * TSV files of images, as the original SEED reads them: one row a line, columns separated by tabs. Column 0 is a key,
 * column 1 an integer label, the LAST column the image in base64; columns between are ignored.
 *
 * Rows are reached by seeking to their offset in the `.lineidx` beside the TSV, so the file is never in memory as a
 * whole: what stays is 8 bytes a row. Rows are numbered from 0 in code, and by their line, from 1, in messages.
 */
import { UserError } from "../errors.ts";
import { readClassNames } from "./class_names.ts";
import { collectLabels } from "./collect_labels.ts";
import {
  BrokenRowError,
  checkRows,
  type Dataset,
  type DatasetRow,
  describeFile,
  type ReadLabelsOptions,
} from "./dataset.ts";
import { type LineIndexOptions, openLineIndex } from "./line_index.ts";
import { MAX_ROW_BYTES } from "./limits.ts";
import { requireFile } from "./stat_or_explain.ts";

const TAB = 9;
const NEWLINE = 10;
const CARRIAGE_RETURN = 13;
/** What is read of a row for its key and its label, which come first; more where they are longer. */
const LABEL_BYTES = 4096;
/** What is looked at of a file's only row for line ends of another kind. */
const LINE_END_BYTES = 16 << 20;
/** Rows that are looked at to see whether a file has labels, and which. */
const LABEL_SAMPLE = 2048;
/** Neighbouring rows are read with one system call, up to this many bytes. */
const MAX_RUN_BYTES = 8 << 20;

/** A step by which one comes to each of `count` numbers, around and around, far apart from one to the next. */
function stepThroughAll(count: number): number {
  const divisor = (a: number, b: number): number => b === 0 ? a : divisor(b, a % b);
  let step = Math.max(1, Math.round(count * (Math.sqrt(5) - 1) / 2)); // the golden ratio
  while (count > 1 && divisor(count, step) > 1) step++;
  return step;
}

/** One row, its image as file bytes. */
export interface TsvRow extends DatasetRow {
  image: Uint8Array<ArrayBuffer>;
}

/** A TSV file open for reading. Close it with `using` or `close()`. */
export class TsvFile implements Dataset {
  #hasLabels: boolean | undefined;
  #classNames: readonly string[] | null | undefined;
  #file: Deno.FsFile;
  #offsets: Float64Array;
  #indexPath: string | undefined;
  #size: number;
  #buffer = new Uint8Array(1 << 16);

  private constructor(
    readonly path: string,
    file: Deno.FsFile,
    index: { offsets: Float64Array; path?: string },
    size: number,
  ) {
    this.#file = file;
    this.#offsets = index.offsets;
    this.#indexPath = index.path;
    this.#size = size;
  }

  /**
   * Opens a TSV and its `.lineidx`, which is made when missing and made again when stale.
   *
   * @example
   * ```ts
   * using tsv = await TsvFile.open("data/train.tsv", { onWarning: console.warn });
   * const { label, image } = await tsv.readRow(0);
   * ```
   * @throws UserError where the file is missing, not a file, or empty
   * @throws LineIndexError where the `.lineidx` contradicts the TSV
   */
  static async open(path: string, options: LineIndexOptions = {}): Promise<TsvFile> {
    await requireFile(path, "a TSV file");
    const file = await Deno.open(path).catch((error) => {
      throw new UserError(`${path} cannot be read: ${error.message}.`, { cause: error });
    });
    try {
      const index = await openLineIndex(path, options);
      const tsv = new TsvFile(path, file, index, (await file.stat()).size);
      tsv.#checkLineEnds();
      return tsv;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** How many rows there are, broken ones included. */
  get rowCount(): number {
    return this.#offsets.length;
  }

  /** Whether any of some rows, spread over the file, has a label from 0 on: where there are no classes it is -1. */
  get hasLabels(): boolean {
    return this.#hasLabels ??= this.#sampleRows().some((row) => this.#readLabel(row)! >= 0);
  }

  /**
   * Names of the classes in the `classes.txt` beside the file, as `deno task tsv` writes it; `undefined` where there is
   * none, and where it has fewer names than some rows, spread over the file, have labels: then it is of other data.
   */
  get classNames(): readonly string[] | undefined {
    if (this.#classNames === undefined) {
      const names = readClassNames(this.path);
      this.#classNames = names !== undefined && this.#fit(names) ? names : null;
    }
    return this.#classNames ?? undefined;
  }

  #fit(names: readonly string[]): boolean {
    const largest = this.#sampleRows().reduce((most, row) => Math.max(most, this.#readLabel(row) ?? -1), -1);
    return largest >= 0 && largest < names.length;
  }

  /** Rows in an order that no pattern of labels has, ascending, as a disk reads them best. */
  #sampleRows(): number[] {
    const { rowCount } = this;
    const step = stepThroughAll(rowCount);
    const rows = Array.from({ length: Math.min(LABEL_SAMPLE, rowCount) }, (_, i) => i * step % rowCount);
    return rows.sort((a, b) => a - b);
  }

  /**
   * Reads one row. The read is synchronous inside, as seek and read belong together; a reader has a Worker of its own.
   *
   * @param row from 0
   * @throws BrokenRowError where the row does not have the right columns
   * @throws UserError where the `.lineidx` turns out not to belong to this file
   */
  // deno-lint-ignore require-await -- so that errors arrive as rejections
  async readRow(row: number): Promise<TsvRow> {
    return this.readRowSync(row);
  }

  /** `readRow`, for callers that are synchronous themselves. */
  readRowSync(row: number): TsvRow {
    const [result] = this.readRows([row]);
    if (result instanceof BrokenRowError) throw result;
    return result;
  }

  /**
   * Reads any rows, in any order, with one system call for each run of neighbours.
   *
   * @param rows numbers from 0
   * @returns for each one the row, or what is wrong with it, in the order asked for
   */
  readRows(rows: ArrayLike<number>): (TsvRow | BrokenRowError)[] {
    const results = new Array<TsvRow | BrokenRowError>(rows.length);
    checkRows(this, rows);
    const order = Array.from(rows, (row, position) => ({ row, position }));
    order.sort((a, b) => a.row - b.row);
    for (let from = 0; from < order.length;) {
      const first = order[from].row;
      const start = this.#offsets[first];
      if (this.#endOf(first) - start > MAX_ROW_BYTES) {
        const { row, position } = order[from++];
        const bytes = this.#endOf(row) - start;
        results[position] = this.brokenRow(
          row,
          `expected at most ${MAX_ROW_BYTES} bytes in a row, found ${bytes}`,
        );
        continue;
      }
      let to = from + 1;
      while (
        to < order.length && order[to].row <= order[to - 1].row + 1 &&
        this.#endOf(order[to].row) - start <= MAX_RUN_BYTES
      ) to++;
      const bytes = this.#readBytes(start, this.#endOf(order[to - 1].row), first);
      for (; from < to; from++) {
        const { row, position } = order[from];
        results[position] = this.#parse(
          row,
          bytes.subarray(this.#offsets[row] - start, this.#endOf(row) - start),
        );
      }
    }
    return results;
  }

  /** The keys of rows, from their beginnings alone. */
  readKeys(rows: ArrayLike<number>): string[] {
    checkRows(this, rows);
    return Array.from(rows, (row) => {
      const line = this.#readBeginning(row);
      const end = line.indexOf(TAB);
      return end < 0 ? String(row) : decodeText(line.subarray(0, end));
    });
  }

  /**
   * The label of every row, from the beginnings of the rows alone: no image is read. Of many rows this takes minutes over a
   * network.
   *
   * @returns -1 where a row has none
   * @throws the signal's reason, where that is aborted
   */
  readLabels(options?: ReadLabelsOptions): Promise<Int32Array<ArrayBuffer>> {
    const labelOf = (row: number) => this.#readLabel(row) ?? -1;
    return collectLabels(this.rowCount, { labelOf, endOf: (row) => this.#endOf(row) }, options);
  }

  /** Those of the TSV. */
  describeFiles(): Iterable<string> {
    return [describeFile(this.#file.statSync())];
  }

  /** An error that names the line. */
  brokenRow(row: number, reason: string): BrokenRowError {
    return new BrokenRowError(this.path, row, `${this.path} line ${row + 1}`, reason);
  }

  /** Closes the file; harmless when done twice. */
  close(): void {
    this.#file[Symbol.dispose]();
  }

  /** `close`, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #endOf(row: number): number {
    return row + 1 < this.#offsets.length ? this.#offsets[row + 1] : this.#size;
  }

  /** Enough of a row for its key and its label: as far as the second tab, where there is one. */
  #readBeginning(row: number): Uint8Array {
    const start = this.#offsets[row];
    const end = Math.min(this.#endOf(row), start + MAX_ROW_BYTES);
    for (let length = LABEL_BYTES;; length *= 2) {
      const line = this.#readBytes(start, Math.min(start + length, end), row);
      const keyEnd = line.indexOf(TAB);
      if (start + length >= end || (keyEnd >= 0 && line.includes(TAB, keyEnd + 1))) return line;
    }
  }

  /** Fails where all rows look like one, since they end with carriage returns alone. */
  #checkLineEnds(): void {
    if (this.rowCount > 1) return;
    const line = this.#readBytes(0, Math.min(this.#size, LINE_END_BYTES), 0);
    const at = findLoneReturn(line);
    if (at < 0) return;
    throw new UserError(
      `${this.path}: expected rows that end with a line feed, found a carriage return alone at byte ${at} (old Mac line ` +
        "ends). Convert it, for example with `tr '\\r' '\\n' < old.tsv > new.tsv`.",
    );
  }

  /** The label of a row; `undefined` where it has none. */
  #readLabel(row: number): number | undefined {
    const line = this.#readBeginning(row);
    const keyEnd = line.indexOf(TAB);
    return keyEnd < 0 ? undefined : parseLabel(labelText(line, keyEnd));
  }

  /** Bytes [start, end) of the file, in a buffer that the next call reuses; checks that a line starts there. */
  #readBytes(start: number, end: number, row: number): Uint8Array {
    // One byte more in front, which must be the line end before the row.
    const before = start > 0 ? 1 : 0;
    const length = end - start + before;
    if (this.#buffer.length < length) this.#buffer = new Uint8Array(2 ** Math.ceil(Math.log2(length)));
    this.#file.seekSync(start - before, Deno.SeekMode.Start);
    for (let filled = 0; filled < length;) {
      const read = this.#file.readSync(this.#buffer.subarray(filled, length));
      if (read === null) {
        throw new UserError(
          `${this.path} line ${row + 1}: expected ${
            length - before
          } bytes from byte ${start}, found the end of ` +
            "the file. It was truncated after it was opened; rerun when it is complete.",
        );
      }
      filled += read;
    }
    if (before === 1 && this.#buffer[0] !== NEWLINE) throw this.#indexError(row);
    return this.#buffer.subarray(before, length);
  }

  #indexError(row: number): UserError {
    const found = `expected the offset where line ${row + 1} of ${this.path} starts, found ${
      this.#offsets[row]
    }, but no line reaches from there to ${this.#endOf(row)}, where the next row should start.`;
    const index = this.#indexPath;
    return new UserError(
      index === undefined
        ? `${this.path}: ${found} It was changed after it was opened; rerun when it is complete.`
        : `${index} line ${row + 1}: ${found} Delete ${index} to rebuild it.`,
    );
  }

  #parse(row: number, line: Uint8Array): TsvRow | BrokenRowError {
    let end = line.length;
    const lineEnd = line.indexOf(NEWLINE);
    // Only the file's last row may lack a line end, and none may have one inside.
    if (lineEnd === -1 ? row + 1 < this.rowCount : lineEnd + 1 < line.length) throw this.#indexError(row);
    if (lineEnd !== -1) end--;
    if (end > 0 && line[end - 1] === CARRIAGE_RETURN) end--;
    line = line.subarray(0, end);
    // Base64 may have blanks and line ends in it, so such a row could be read as one with a longer image.
    const lineReturn = line.indexOf(CARRIAGE_RETURN);
    if (lineReturn >= 0) {
      return this.brokenRow(
        row,
        `expected line ends only at the end of the row, found a carriage return at its byte ${
          lineReturn + 1
        }`,
      );
    }

    const keyEnd = line.indexOf(TAB);
    const lastStart = line.lastIndexOf(TAB) + 1;
    if (keyEnd === -1 || keyEnd + 1 === lastStart) {
      const found = line.length === 0 ? "an empty line" : keyEnd === -1 ? "1 column" : "2 columns";
      return this.brokenRow(
        row,
        `expected at least 3 columns separated by tabs (key, label, base64 image), found ${found}`,
      );
    }
    const text = labelText(line, keyEnd);
    const label = parseLabel(text);
    if (label === undefined) {
      return this.brokenRow(row, describeLabelProblem(text, " in column 2"));
    }
    if (lastStart === line.length) {
      return this.brokenRow(row, "expected a base64 image in the last column, found nothing");
    }
    const base64 = decodeLatin1(line.subarray(lastStart));
    try {
      const image = Uint8Array.fromBase64(base64);
      return { row, key: decodeText(line.subarray(0, keyEnd)), label: label | 0, image };
    } catch {
      return this.brokenRow(
        row,
        `expected a base64 image in the last column, ${describeBase64Problem(base64)}`,
      );
    }
  }
}

const utf8 = new TextDecoder();
const latin1 = new TextDecoder("latin1");

function decodeText(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}

/** Column 1 of a row whose column 0 ends at `keyEnd`. */
function labelText(line: Uint8Array, keyEnd: number): string {
  return decodeText(line.subarray(keyEnd + 1, Math.max(line.indexOf(TAB, keyEnd + 1), keyEnd + 1))).trim();
}

/** An int32, or `undefined` where the text is none. */
export function parseLabel(text: string): number | undefined {
  const label = Number(text);
  return /^[+-]?\d+$/.test(text) && label === (label | 0) ? label | 0 : undefined;
}

/** Why a text is no label, for a message: {@linkcode parseLabel} gave `undefined`. */
export function describeLabelProblem(text: string, where = ""): string {
  const range = /^[+-]?\d+$/.test(text) ? ` from ${-(2 ** 31)} to ${2 ** 31 - 1} (32 bits)` : "";
  return `expected an integer label${range}${where}, found ${shorten(text)}`;
}

/** Where a line has a carriage return without a line feed behind it; -1 where it has none. */
function findLoneReturn(line: Uint8Array): number {
  for (let at = line.indexOf(CARRIAGE_RETURN); at >= 0; at = line.indexOf(CARRIAGE_RETURN, at + 1)) {
    if (at + 1 < line.length && line[at + 1] !== NEWLINE) return at;
  }
  return -1;
}

/** What is wrong with a text that is no base64 (RFC 4648), and where; characters are counted from 1. */
function describeBase64Problem(text: string): string {
  const at = text.search(/[^A-Za-z0-9+/=\s]/);
  if (at >= 0) {
    const place = `at character ${at + 1} of ${text.length}`;
    if (text[at] === "-" || text[at] === "_") {
      return `found ${shorten(text[at])} ${place} (URL-safe base64): replace - with + and _ with /`;
    }
    if (text[at] === "\\" && /[nrt]/.test(text[at + 1] ?? "")) {
      return `found a backslash and "${text[at + 1]}" ${place}, an escaped line end: remove it`;
    }
    return `found ${shorten(text[at])} ${place} (${shorten(text)})`;
  }
  const padding = /=\s*[^=\s]/.exec(text);
  if (padding !== null) {
    return `found the padding "=" at character ${padding.index + 1} of ${text.length}, before the end`;
  }
  const length = text.replaceAll(/[\s=]/g, "").length;
  return `found ${length} characters and ${
    text.replaceAll(/[^=]/g, "").length
  } "=" after them, which is not a whole ` +
    "number of bytes: it is truncated or damaged";
}

/** Base64 is ASCII; one byte a character is the fastest way in. */
function decodeLatin1(bytes: Uint8Array): string {
  return latin1.decode(bytes);
}

function shorten(text: string): string {
  return JSON.stringify(text.length > 40 ? text.slice(0, 40) + "..." : text);
}

/**
 * What every kind of data looks like to a reader: rows of a key, a label and an image, reached by number. A TSV file, a
 * folder of images and the binary files of CIFAR are such; `openDataset` tells them apart.
 */
import { UserError } from "../errors.ts";
import { CLASS_NAMES_FILE } from "./class_names.ts";
import type { Image } from "./decode.ts";
import { printableLine } from "./printable.ts";

/** One row. */
export interface DatasetRow {
  /** Number of the row, from 0. */
  row: number;
  /** Key of the row: column 0 of a TSV file, or the path of an image within its folder. */
  key: string;
  /** Class label, int32; -1 if the data has no classes. */
  label: number;
  /** Encoded image file, or pixels if the data stores pixels. */
  image: Uint8Array<ArrayBuffer> | Image;
}

/** Rows, or errors for those that cannot be used. */
export type DatasetRows = (DatasetRow | BrokenRowError)[];

/** Options for {@linkcode Dataset.readLabels}. */
export interface ReadLabelsOptions {
  /** Called now and then with the number of bytes of the data that are passed, where it is read row by row. */
  onProgress?(done: number, total: number): void;
  /** Ends the reading. What awaits it rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** A data set that is open for reading. Close it with `using` or `close()`. */
export interface Dataset extends Disposable {
  /** Path of the file or folder. */
  readonly path: string;
  /** Number of rows, including broken ones. */
  readonly rowCount: number;
  /** Whether it has class labels, as found in a sample of its rows. */
  readonly hasLabels: boolean;
  /** Names of the classes 0, 1 and so on, if the data has them. */
  readonly classNames?: readonly string[];
  /** Number of classes, with images or without, if the data has it besides its labels. */
  readonly classCount?: number;

  /**
   * Reads any rows, in any order.
   *
   * @param rows row numbers, from 0
   * @returns for each number the row, or an error if it cannot be used, in the given order
   * @throws {RangeError} if a row does not exist
   */
  readRows(rows: ArrayLike<number>): DatasetRows | Promise<DatasetRows>;

  /** Returns the keys of rows, in the given order, without reading images. A row without a key gives its number. */
  readKeys(rows: ArrayLike<number>): string[];

  /**
   * Reads the label of every row, in a single pass that reads no more images than it must.
   *
   * @returns labels, [rowCount]; -1 if a row has none or is broken
   */
  readLabels(options?: ReadLabelsOptions): Promise<Int32Array<ArrayBuffer>>;

  /** Returns the sizes and modification times of its files as lines, some at a time; they change when one of these does. */
  describeFiles(): Iterable<string> | AsyncIterable<string>;

  /** Makes an error that says where in the data a row is. */
  brokenRow(row: number, reason: string): BrokenRowError;

  /** Closes its files. Calling it twice is harmless. */
  close(): void;
}

/**
 * Error of one row that cannot be used, while the rest of the data may be fine. The message has the place and the
 * reason.
 */
export class BrokenRowError extends UserError {
  /** Name of the error class. */
  override name = "BrokenRowError";

  /**
   * Makes an error about one row.
   *
   * @param file path of the data
   * @param row number of the row, from 0
   * @param place place of the row in the data, in words
   * @param reason what was expected and what was found
   */
  constructor(readonly file: string, readonly row: number, place: string, readonly reason: string) {
    super(printableLine(`${place}: ${reason}`)); // a name of data may hold a line feed
  }
}

/**
 * Makes sure that labels mean the same in two sets of data, as far as they name them.
 *
 * @throws {UserError} that says which class is not in both
 */
export function checkSameClassNames(
  ...both: [Pick<Dataset, "path" | "classNames">, Pick<Dataset, "path" | "classNames">]
): void {
  // As a list of classes has them, which is a line a class.
  const [names, others] = both.map(({ classNames }) => classNames?.map((name) => printableLine(name)));
  if (names === undefined || others === undefined) return;
  const all = [names, others];
  for (const [here, there] of [[1, 0], [0, 1]]) {
    const known = new Set(all[here]);
    const missing = all[there].find((name) => !known.has(name));
    if (missing === undefined) continue;
    const alike = all[here].find((name) => name.normalize("NFC") === missing.normalize("NFC"));
    if (alike !== undefined) {
      throw new UserError(
        `${both[here].path}: expected the class "${missing}" as in ${
          both[there].path
        }, found that name in another ` +
          "Unicode form, so the labels would not match. Rename one like the other.",
      );
    }
    throw new UserError(
      `${both[here].path}: expected the classes of ${
        both[there].path
      }, but "${missing}" is missing, so the ` +
        "labels would not match. If it has no images of that class, add an empty folder with that name. The classes of " +
        `a TSV file are those in the ${CLASS_NAMES_FILE} beside it.`,
    );
  }
  const moved = names.find((name, label) => others[label] !== name);
  if (moved === undefined) return;
  throw new UserError(
    `${both[1].path}: expected the classes of ${
      both[0].path
    } in the same order, found "${moved}" at another position, so the ` +
      "labels would not match.",
  );
}

/** Size and time of the last change of a file, for {@linkcode Dataset.describeFiles}. */
export function describeFile({ size, mtime }: Deno.FileInfo): string {
  return `${size} ${mtime?.getTime() ?? ""}`;
}

/** Makes sure that rows exist before they are read. */
export function checkRows({ path, rowCount }: Dataset, rows: ArrayLike<number>): void {
  for (let i = 0; i < rows.length; i++) {
    if (!Number.isInteger(rows[i]) || rows[i] < 0 || rows[i] >= rowCount) {
      throw new RangeError(`${path}: expected a row from 0 to ${rowCount - 1}, found ${rows[i]}`);
    }
  }
}

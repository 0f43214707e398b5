/**
 * What every kind of data looks like to a reader: rows of a key, a label and an image, reached by number. A TSV file, a
 * folder of images and the binary files of CIFAR are such; `openDataset` tells them apart.
 */
import { UserError } from "../errors.ts";
import type { Image } from "./decode.ts";
import { printableLine } from "./printable.ts";

/** One row. */
export interface DatasetRow {
  /** Number of the row, from 0. */
  row: number;
  /** Any name: column 0 of a TSV, the path of a file in its folder. */
  key: string;
  /** An int32; -1 where the data has no classes. */
  label: number;
  /** The bytes of an image's file, not looked at yet, or pixels where the data keeps pixels. */
  image: Uint8Array<ArrayBuffer> | Image;
}

/** Rows that are read, or what is wrong with them. */
export type DatasetRows = (DatasetRow | BrokenRowError)[];

/** Data that is open for reading. Close it with `using` or `close()`. */
export interface Dataset extends Disposable {
  /** Of the file or folder. */
  readonly path: string;
  /** How many rows there are, broken ones included. */
  readonly rowCount: number;
  /** Whether it has labels of classes, as far as a look at some rows can say. */
  readonly hasLabels: boolean;
  /** Names of the labels 0, 1 and so on, where the data has them. */
  readonly classNames?: readonly string[];

  /**
   * Reads any rows, in any order.
   *
   * @param rows numbers from 0
   * @returns for each one the row, or what is wrong with it, in the order asked for
   * @throws {RangeError} for a number that is no row
   */
  readRows(rows: ArrayLike<number>): DatasetRows | Promise<DatasetRows>;

  /** The keys of rows, in the order asked for; no image is read. A row that has none gives its number. */
  readKeys(rows: ArrayLike<number>): string[];

  /** The largest label; no image is read. `undefined` where no row has a label. */
  largestLabel(): number | undefined;

  /** What changes where one of its files does: their sizes and the times of their last change, as text. */
  describeFiles(): string | Promise<string>;

  /** An error that names a row as a person would look for it. */
  brokenRow(row: number, reason: string): BrokenRowError;

  /** Lets go of its files; harmless when done twice. */
  close(): void;
}

/** One row cannot be used; the rest of the data may be fine. The message names the place and the reason. */
export class BrokenRowError extends UserError {
  /** What a program tells the kind of error by. */
  override name = "BrokenRowError";

  /**
   * An error about one row.
   *
   * @param file path of the data
   * @param row number of the row, from 0
   * @param place where a person finds the row
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
  const [names, others] = both.map(({ classNames }) => classNames);
  if (names === undefined || others === undefined) return;
  for (const [here, there] of [[1, 0], [0, 1]]) {
    const known = new Set(both[here].classNames);
    const missing = both[there].classNames!.find((name) => !known.has(name));
    if (missing === undefined) continue;
    throw new UserError(
      `${both[here].path}: expected the classes of ${
        both[there].path
      }, found none that is called "${missing}", so the ` +
        "labels would not mean the same. Where it has no images of that class, an empty folder of that name will do.",
    );
  }
  const moved = names.find((name, label) => others[label] !== name);
  if (moved === undefined) return;
  throw new UserError(
    `${both[1].path}: expected the classes of ${
      both[0].path
    } in their order, found "${moved}" in another place, so the ` +
      "labels would not mean the same.",
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
      throw new RangeError(`${path} has rows 0 to ${rowCount - 1}; row ${rows[i]} was asked for`);
    }
  }
}

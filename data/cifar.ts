/**
 * The binary versions of CIFAR-10 and CIFAR-100: files of records, each a label and 32 x 32 pixels. CIFAR-10 has one
 * label byte, CIFAR-100 two: the coarse one, which is not used, and the fine one. The pixels are 1024 bytes of red, 1024
 * of green and 1024 of blue, row by row (https://www.cs.toronto.edu/~kriz/cifar.html).
 */
import { basename, dirname, join } from "node:path";
import { UserError } from "../errors.ts";
import { readNamesFile } from "./class_names.ts";
import { collectLabels } from "./collect_labels.ts";
import {
  BrokenRowError,
  checkRows,
  type Dataset,
  type DatasetRow,
  type DatasetRows,
  describeFile,
  type ReadLabelsOptions,
} from "./dataset.ts";
import type { Image } from "./decode.ts";
import { requireFile, statOrExplain } from "./stat_or_explain.ts";

/** Height and width of an image, in pixels. */
const SIZE = 32;
const PLANE = SIZE * SIZE;

/** The two versions. */
const VERSIONS = [
  { name: "CIFAR-10", labelBytes: 1, classes: 10, names: "batches.meta.txt" },
  { name: "CIFAR-100", labelBytes: 2, classes: 100, names: "fine_label_names.txt" },
] as const;

type Version = typeof VERSIONS[number];

/** Names of the files of CIFAR-10 to train on. */
const TRAIN_FILES = /^data_batch_\d+\.bin$/;

/** Those that CIFAR-10 has. */
const DISTRIBUTED_FILES = [1, 2, 3, 4, 5].map((number) => `data_batch_${number}.bin`);

/** What `CifarFiles.open` can be told. */
export interface CifarOptions {
  /** Gets a sentence where files are missing. */
  onWarning?(message: string): void;
}

/**
 * Whether a folder has one of the five files of CIFAR-10 to train on. They are looked for by name: to list a folder of a
 * million images takes a while.
 */
export function hasTrainFiles(folder: string): boolean {
  return DISTRIBUTED_FILES.some((name) => {
    try {
      return Deno.statSync(`${folder}/${name}`).isFile;
    } catch {
      return false;
    }
  });
}

function recordBytes({ labelBytes }: Version): number {
  return labelBytes + 3 * PLANE;
}

interface CifarFile {
  /** Name without `.bin`. */
  name: string;
  file: Deno.FsFile;
  rows: number;
}

/** One or several files of CIFAR open for reading. */
export class CifarFiles implements Dataset {
  readonly #files: readonly CifarFile[];
  readonly #version: Version;
  /** How many images there are. */
  readonly rowCount: number;
  /** Each record has a label. */
  readonly hasLabels = true;
  /** 10 or 100. */
  readonly classCount: number;

  private constructor(
    readonly path: string,
    files: readonly CifarFile[],
    version: Version,
    readonly classNames: readonly string[] | undefined,
  ) {
    this.#files = files;
    this.#version = version;
    this.classCount = version.classes;
    this.rowCount = files.reduce((rows, file) => rows + file.rows, 0);
  }

  /**
   * Opens a file, or the `data_batch_*.bin` of a folder as one.
   *
   * @throws {UserError} where a file's size is not that of whole records, or its class names cannot be read
   */
  static async open(path: string, { onWarning }: CifarOptions = {}): Promise<CifarFiles> {
    const info = await statOrExplain(path);
    const names = info.isDirectory
      ? Array.from(Deno.readDirSync(path), ({ name }) => name).filter((name) => TRAIN_FILES.test(name))
        .sort((a, b) => parseInt(a.slice(11)) - parseInt(b.slice(11)))
      : [basename(path)];
    const folder = info.isDirectory ? path : dirname(path);
    const files: CifarFile[] = [];
    try {
      let version: Version | undefined;
      for (const name of names) {
        const found = await recogniseVersion(`${folder}/${name}`);
        if (version !== undefined && found.version !== version) {
          throw new UserError(
            `${folder}/${name}: expected a ${version.name} file like the others, found ${found.version.name}`,
          );
        }
        version = found.version;
        const file = await Deno.open(`${folder}/${name}`);
        files.push({ name: name.replace(/\.bin$/, ""), file, rows: found.rows });
      }
      const missing = info.isDirectory ? DISTRIBUTED_FILES.filter((name) => !names.includes(name)) : [];
      if (missing.length > 0) {
        onWarning?.(
          `${path}: expected ${DISTRIBUTED_FILES[0]} to ${DISTRIBUTED_FILES.at(-1)}, found no ${
            missing.join(", ")
          }; only the others are used`,
        );
      }
      return new CifarFiles(path, files, version!, readNames(folder, version!));
    } catch (error) {
      for (const { file } of files) file.close();
      throw error;
    }
  }

  /**
   * Reads records; synchronous inside, as a reader has a Worker of its own.
   *
   * @throws {RangeError} for a number that is no row
   */
  readRows(rows: ArrayLike<number>): DatasetRows {
    checkRows(this, rows);
    return Array.from(rows, (row) => this.#read(row));
  }

  /** Names of the files and numbers of the images in them, from 0. */
  readKeys(rows: ArrayLike<number>): string[] {
    checkRows(this, rows);
    return Array.from(rows, (row) => this.#keyOf(row));
  }

  /** The class of every image; -1 where a record has another number. */
  readLabels(options?: ReadLabelsOptions): Promise<Int32Array<ArrayBuffer>> {
    const labelOf = (row: number) => {
      const found = this.#read(row);
      return found instanceof BrokenRowError ? -1 : found.label;
    };
    const bytes = recordBytes(this.#version);
    return collectLabels(this.rowCount, { labelOf, endOf: (row) => (row + 1) * bytes }, options);
  }

  /** Those of all its files. */
  describeFiles(): Iterable<string> {
    return this.#files.map(({ file }) => describeFile(file.statSync()));
  }

  /** An error that names the file and the record. */
  brokenRow(row: number, reason: string): BrokenRowError {
    const { file, index } = this.#locate(row);
    const folder = this.path.endsWith(".bin") ? dirname(this.path) : this.path;
    return new BrokenRowError(this.path, row, `${folder}/${file.name}.bin image ${index + 1}`, reason);
  }

  /** Closes the files; harmless when done twice. */
  close(): void {
    for (const { file } of this.#files) file[Symbol.dispose]();
  }

  /** `close`, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #locate(row: number): { file: CifarFile; index: number } {
    let index = row;
    for (const file of this.#files) {
      if (index < file.rows) return { file, index };
      index -= file.rows;
    }
    throw new RangeError(`${this.path} has no row ${row}`);
  }

  #keyOf(row: number): string {
    const { file, index } = this.#locate(row);
    return `${file.name}/${index}`;
  }

  #read(row: number): DatasetRow | BrokenRowError {
    const { labelBytes, classes } = this.#version;
    const { file: { file }, index } = this.#locate(row);
    const record = new Uint8Array(recordBytes(this.#version));
    file.seekSync(index * record.length, Deno.SeekMode.Start);
    for (let filled = 0; filled < record.length;) {
      const read = file.readSync(record.subarray(filled));
      if (read === null) return this.brokenRow(row, "the file was truncated after it was opened");
      filled += read;
    }
    const label = record[labelBytes - 1];
    if (label >= classes) {
      return this.brokenRow(row, `expected a label from 0 to ${classes - 1}, found ${label}`);
    }
    return { row, key: this.#keyOf(row), label, image: toImage(record.subarray(labelBytes)) };
  }
}

/** uint8 [3, 32, 32] to RGBA8. */
function toImage(planes: Uint8Array): Image {
  const pixels = new Uint8Array(4 * PLANE).fill(255);
  for (let channel = 0; channel < 3; channel++) {
    for (let i = 0; i < PLANE; i++) pixels[4 * i + channel] = planes[channel * PLANE + i];
  }
  return { width: SIZE, height: SIZE, pixels };
}

async function recogniseVersion(path: string): Promise<{ version: Version; rows: number }> {
  const { size } = await requireFile(path, "a CIFAR file");
  const fitting = VERSIONS.filter((version) => size > 0 && size % recordBytes(version) === 0);
  // Both fit every 9 million bytes; the distributed files of CIFAR-100 are called so.
  const version = fitting.length === 2 && /^(train|test)\.bin$/.test(basename(path))
    ? fitting[1]
    : fitting[0];
  if (version !== undefined) return { version, rows: size / recordBytes(version) };
  const kinds = VERSIONS.map((version) => `${recordBytes(version)} bytes (${version.name})`);
  throw new UserError(
    `${path}: expected records of ${
      kinds.join(" or ")
    }, found ${size} bytes, which is not a multiple of either. ` +
      "Download the binary version of CIFAR, or download it again if it is incomplete.",
  );
}

/** Paths of the files beside a file of CIFAR in which class names may be: which one depends on its version. */
export function cifarNamesPaths(path: string): string[] {
  return VERSIONS.map(({ names }) => join(dirname(path), names));
}

/** @throws {UserError} where the file cannot be read */
function readNames(folder: string, { names, classes }: Version): string[] | undefined {
  const text = readNamesFile(`${folder}/${names}`) ?? "";
  const found = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  return found.length === classes ? found : undefined;
}

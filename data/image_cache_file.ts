/**
 * A file of decoded images. In front is what the images are of, then a record for each row as the table in memory
 * has it, then the pixels. A record is written when the pixels are there, and has a checksum of them, so that a file is of
 * use whenever its writer was killed or the power failed.
 *
 * One run writes to a file at a time, which holds its lock; others read what is there already. Of a run's processes the first one
 * makes the file and writes to it. A file of other images is replaced by a new one, and not written over: who reads it goes on with
 * the old one. A file does not grow into the last of its disk, which the run itself writes to.
 */
import { crc32 } from "node:zlib";
import { UserError } from "../errors.ts";
import { describeBytes } from "./describe_bytes.ts";
import { diskSpace } from "./disk_space.ts";
import {
  type CachedRow,
  CacheTable,
  readRecord,
  RECORD,
  recordOf,
  rgbBytes,
  UNIT,
  unitsOf,
} from "./image_cache_table.ts";
import { replaceFile, writeAll } from "./replace_file.ts";
import { reduceToRgb } from "./rgb.ts";
import { tryLock } from "./try_lock.ts";

/** The first eight bytes. The digit is that of the layout, and of what decoding gives. */
const MAGIC = "SEEDRGB1";

/** Bytes of the front: magic, number of rows (uint32), 4 of nothing, name of the file (16), fingerprint (32). */
const FRONT = 64;
const [ROWS, NAME, FINGERPRINT] = [8, 16, 32];

/** The records begin here; the pixels at the next multiple behind them. */
const PAGE = 4096;

/** What stays free of a disk: bytes, or a share of it where that is less. The checkpoints of a run, its log and metrics need room. */
const LEFT_FREE = { bytes: 5 * 2 ** 30, share: 1 / 10 };

/** A file, as it is sent to Workers. */
export interface CacheFileHandle {
  /** Of the file. */
  path: string;
  /** Drawn when the file was made, so that another one in its place is known, hexadecimal. */
  name: string;
  /** How many rows the data has. */
  rows: number;
  /** Whether this run writes to it. */
  isWriter: boolean;
}

/** A file that a run has open. */
export interface OpenCacheFile extends Disposable {
  handle: { table: SharedArrayBuffer; pixels: CacheFileHandle };
  /** Rows that were there. */
  found: number;
  /** Whether other images were in it. */
  isRebuilt: boolean;
  /** Whether this run writes to it; else another one does, or nobody may. */
  isWriter: boolean;
}

/**
 * Opens a file for a run, or makes it.
 *
 * @param rows of the data
 * @param fingerprint of the data, and of what decodes it: SHA-256, hexadecimal
 * @throws {UserError} where there is something else than such a file, or none can be made
 */
export async function openCacheFile(
  path: string,
  rows: number,
  fingerprint: string,
): Promise<OpenCacheFile> {
  const existing = openExisting(path);
  if (existing === undefined) await make(path, rows, fingerprint);
  else {
    const { file, canWrite } = existing;
    const front = readFront(file, path);
    const isWriter = canWrite && mayWrite(file);
    if (isOf(front, rows, fingerprint)) {
      return openFor(file, { path, name: front.name, rows, isWriter }, false);
    }
    using _old = file; // its lock is held until the new one is in its place
    if (!isWriter) throw isInUse(path);
    await make(path, rows, fingerprint);
  }
  const file = Deno.openSync(path, { read: true, write: true });
  const front = readFront(file, path);
  if (isOf(front, rows, fingerprint)) {
    const handle = { path, name: front.name, rows, isWriter: mayWrite(file) };
    return openFor(file, handle, existing !== undefined);
  }
  file.close();
  throw isInUse(path); // another run has replaced it meanwhile
}

/** How long the file of another process is waited for, in ms, and the time between two looks. */
const [FOLLOWER_PATIENCE_MS, BETWEEN_LOOKS_MS] = [60_000, 100];

/**
 * Opens a file for a process whose run has another one that makes the file and writes to it: it is waited for.
 *
 * @returns `undefined` where it was not there in time
 * @throws {UserError} where there is something else than such a file
 */
export async function followCacheFile(
  path: string,
  rows: number,
  fingerprint: string,
  patienceMs: number = FOLLOWER_PATIENCE_MS,
): Promise<OpenCacheFile | undefined> {
  const last = performance.now() + patienceMs;
  for (;;) {
    const existing = openExisting(path);
    if (existing !== undefined) {
      const front = readFront(existing.file, path);
      if (isOf(front, rows, fingerprint)) {
        return openFor(existing.file, { path, name: front.name, rows, isWriter: false }, false);
      }
      existing.file.close(); // of other images: it will be replaced
    }
    if (performance.now() > last) return undefined;
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_LOOKS_MS));
  }
}

function isOf(front: Front, rows: number, fingerprint: string): boolean {
  return front.rows === rows && front.fingerprint === fingerprint;
}

function isInUse(path: string): UserError {
  return new UserError(
    `${path}: expected decoded images of this data, found those of other data, which another run uses or nobody may ` +
      "replace: name another file",
  );
}

function openExisting(path: string): { file: Deno.FsFile; canWrite: boolean } | undefined {
  try {
    return { file: Deno.openSync(path, { read: true, write: true }), canWrite: true };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    try {
      return { file: Deno.openSync(path), canWrite: false };
    } catch {
      throw new UserError(
        `${path}: the file of decoded images cannot be opened: ${(error as Error).message}`,
      );
    }
  }
}

/** Whether this run may write. */
function mayWrite(file: Deno.FsFile): boolean {
  try {
    return tryLock(file);
  } catch {
    return false; // a disk without locks
  }
}

/** Makes a file without any image, which takes its name when it is whole. */
async function make(path: string, rows: number, fingerprint: string): Promise<void> {
  const front = new Uint8Array(FRONT);
  front.set(new TextEncoder().encode(MAGIC));
  new DataView(front.buffer).setUint32(ROWS, rows, true);
  crypto.getRandomValues(front.subarray(NAME, FINGERPRINT));
  front.set(Uint8Array.fromHex(fingerprint), FINGERPRINT);
  await replaceFile(path, async (file) => {
    writeAll(file, front);
    await file.truncate(pixelsStart(rows)); // records of zeros
  });
}

/** What the front of a file says. */
interface Front {
  rows: number;
  name: string;
  fingerprint: string;
}

function readFront(file: Deno.FsFile, path: string): Front {
  const front = new Uint8Array(FRONT);
  const isWhole = file.statSync().isFile && readAt(file, 0, front);
  if (!isWhole || new TextDecoder().decode(front.subarray(0, MAGIC.length)) !== MAGIC) {
    file.close();
    throw new UserError(
      `${path}: expected a file of decoded images, or none, found something else: name another file, or remove it`,
    );
  }
  return {
    rows: new DataView(front.buffer).getUint32(ROWS, true),
    name: front.subarray(NAME, FINGERPRINT).toHex(),
    fingerprint: front.subarray(FINGERPRINT).toHex(),
  };
}

/** Reads the records into a table. */
function openFor(file: Deno.FsFile, pixels: CacheFileHandle, isRebuilt: boolean): OpenCacheFile {
  const { rows, isWriter } = pixels;
  const memory = CacheTable.allocate(rows);
  const table = new CacheTable(memory);
  const records = new Uint32Array(RECORD * rows);
  readAt(file, PAGE, new Uint8Array(records.buffer));
  const space = file.statSync().size - pixelsStart(rows);
  let [found, used] = [0, 0];
  for (let row = 0; row < rows; row++) {
    const record = readRecord(records.subarray(RECORD * row, RECORD * (row + 1)), row);
    if (record === undefined || !isInside(record, space)) continue;
    table.publish(record);
    found++;
    used = Math.max(used, record.place + unitsOf(record));
  }
  table.setUsed(used);
  return {
    handle: { table: memory, pixels },
    found,
    isRebuilt,
    isWriter,
    [Symbol.dispose]: () => file[Symbol.dispose](),
  };
}

/** Whether all pixels of a row are within so many bytes. */
function isInside(row: CachedRow, space: number): boolean {
  return row.place * UNIT + rgbBytes(row) <= space;
}

function recordStart(row: number): number {
  return PAGE + 4 * RECORD * row;
}

function pixelsStart(rows: number): number {
  return PAGE * Math.ceil((PAGE + 4 * RECORD * rows) / PAGE);
}

/** Fills a buffer from a place of a file. @returns whether the file has as much */
function readAt(file: Deno.FsFile, start: number, into: Uint8Array): boolean {
  file.seekSync(start, Deno.SeekMode.Start);
  for (let filled = 0; filled < into.length;) {
    const read = file.readSync(into.subarray(filled));
    if (read === null) return false;
    filled += read;
  }
  return true;
}

function writeAt(file: Deno.FsFile, start: number, bytes: Uint8Array): void {
  file.seekSync(start, Deno.SeekMode.Start);
  writeAll(file, bytes);
}

/** CRC-32 of the pixels and of the rest of a record. */
function checksumOf(row: CachedRow, rgb: Uint8Array): number {
  const record = recordOf({ ...row, checksum: row.row });
  return crc32(rgb, crc32(new Uint8Array(record.buffer)));
}

/** The pixels of a cache in a file, open in one Worker. */
export class CacheFile implements Disposable {
  readonly isWriter: boolean;
  readonly units: number = Infinity;
  readonly #file: Deno.FsFile;
  readonly #path: string;
  readonly #start: number;

  private constructor(file: Deno.FsFile, { path, rows, isWriter }: CacheFileHandle) {
    this.#file = file;
    this.#path = path;
    this.#start = pixelsStart(rows);
    this.isWriter = isWriter;
  }

  /** Opens the file once more; `undefined` where it is no longer there. */
  static open(handle: CacheFileHandle, onProblem: (reason: string) => void): CacheFile | undefined {
    const { path, name, isWriter } = handle;
    try {
      const file = Deno.openSync(path, { read: true, write: isWriter });
      if (readFront(file, path).name === name) return new CacheFile(file, handle);
      file.close();
      onProblem(`${path} was replaced while this run used it; images are decoded`);
    } catch (error) {
      onProblem(`images are decoded, since ${path} is no longer there: ${(error as Error).message}`);
    }
    return undefined;
  }

  /** Reads the RGB8 of a row; `undefined` where it is not what was written. */
  read(row: CachedRow): Uint8Array | undefined {
    const rgb = new Uint8Array(rgbBytes(row));
    try {
      const isWhole = readAt(this.#file, this.#start + row.place * UNIT, rgb);
      return isWhole && checksumOf(row, rgb) === row.checksum ? rgb : undefined;
    } catch {
      return undefined; // a disk that is damaged there
    }
  }

  /** Writes a row, and returns its checksum; throws where there is no room. */
  write(row: CachedRow, words: Uint32Array): number {
    const rgb = new Uint8Array(rgbBytes(row));
    reduceToRgb(rgb, words);
    const checksum = checksumOf(row, rgb);
    this.#requireRoom(rgb.length);
    try {
      writeAt(this.#file, this.#start + row.place * UNIT, rgb);
      writeAt(this.#file, recordStart(row.row), new Uint8Array(recordOf({ ...row, checksum }).buffer));
    } catch (error) {
      throw new Error(`${this.#path} cannot be written: ${(error as Error).message}`, { cause: error });
    }
    return checksum;
  }

  /** Fails where the disk would have too little left for other files. */
  #requireRoom(bytes: number): void {
    const space = diskSpace(this.#path);
    if (space === undefined) return;
    const left = Math.min(LEFT_FREE.bytes, space.total * LEFT_FREE.share);
    if (space.available - bytes >= left) return;
    throw new Error(
      `the disk of ${this.#path} has ${describeBytes(space.available)} free, of which ` +
        `${describeBytes(left)} are left for checkpoints and other files`,
    );
  }

  /** Looks what the run that writes has written meanwhile, where this one does not. */
  find(row: number): CachedRow | undefined {
    if (this.isWriter) return undefined;
    const words = new Uint32Array(RECORD);
    try {
      if (!readAt(this.#file, recordStart(row), new Uint8Array(words.buffer))) return undefined;
      const record = readRecord(words, row);
      const space = this.#file.statSync().size - this.#start;
      return record !== undefined && isInside(record, space) ? record : undefined;
    } catch {
      return undefined; // a disk that is damaged there
    }
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}

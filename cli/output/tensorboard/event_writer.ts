/** Event files that TensorBoard opens: `tensorboard --logdir output`. */
import { hostname } from "node:os";
import { join } from "node:path";
import protobuf from "protobufjs";
import { writeAll } from "../../../data/replace_file.ts";
import { describeWriteError } from "../line_file.ts";
import { maskedCrc32c } from "./crc32c.ts";
import schema from "./event.proto" with { type: "text" };

const EVENT = protobuf.parse(schema, { keepCase: false }).root.lookupType("tensorboard.Event");

/** An image as TensorBoard has it: RGB, as a PNG. */
export interface EventImage {
  width: number;
  height: number;
  png: Uint8Array;
}

const NAME = /^events\.out\.tfevents\.(\d+)\./;

/**
 * Returns the seconds that the name of a new file begins with: those of now, unless the clock was set back since, or is behind that of
 * the machine where the run began. TensorBoard reads the files in the order of their names, and drops what it takes for earlier.
 */
function secondsOfName(folder: string, now: number): number {
  let newest = -Infinity;
  try {
    for (const { name } of Deno.readDirSync(folder)) {
      newest = Math.max(newest, Number(NAME.exec(name)?.[1] ?? -Infinity));
    }
  } catch {
    // The file itself says why it cannot be made there.
  }
  const seconds = Math.floor(now / 1000);
  return newest > seconds ? newest + 1 : seconds;
}

/**
 * Makes a file. Where one run of this process has ended within the second, its file stays as it is, and the name of the next
 * ends with a number: TensorBoard reads the files of a folder in the order of their names.
 */
function makeFile(name: string): { path: string; file: Deno.FsFile } {
  for (let number = 0;; number++) {
    const path = number === 0 ? name : `${name}.${number}`;
    try {
      return { path, file: Deno.openSync(path, { write: true, createNew: true }) };
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw describeWriteError(error, path);
    }
  }
}

/**
 * Appends events to a new file `events.out.tfevents.*` of a folder. Every event goes to the system as it is written, so
 * that TensorBoard shows a run while it lasts, and a crash loses none.
 */
export class EventWriter implements Disposable {
  readonly path: string;
  readonly #file: Deno.FsFile;
  readonly #now: () => number;
  /** Bytes of the whole records so far. */
  #size = 0;

  /**
   * Makes the file.
   *
   * @param now milliseconds since 1970
   * @throws {UserError} where it cannot be written
   */
  constructor(folder: string, now: () => number = Date.now) {
    const name = `events.out.tfevents.${secondsOfName(folder, now())}.${hostname()}.${Deno.pid}.seed`;
    this.#now = now;
    ({ path: this.path, file: this.#file } = makeFile(join(folder, name)));
    this.#write({ fileVersion: "brain.Event:2" });
  }

  /** A number at a step. */
  scalar(tag: string, value: number, step: number): void {
    this.#write({ step, summary: { value: [{ tag, simpleValue: value }] } });
  }

  /** An image at a step. */
  image(tag: string, { width, height, png }: EventImage, step: number): void {
    const image = { width, height, colorspace: 3, encodedImageString: png };
    this.#write({ step, summary: { value: [{ tag, image }] } });
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  /** Of a full disk half a record may fit, behind which nobody could read on. */
  #forgetHalfRecord(): void {
    try {
      this.#file.seekSync(this.#size, Deno.SeekMode.Start);
      this.#file.truncateSync(this.#size);
    } catch {
      // the disk does not even do that
    }
  }

  /** A record: the length (8 bytes) and its sum, the data and its sum. */
  #write(event: Record<string, unknown>): void {
    const data = EVENT.encode(EVENT.create({ wallTime: this.#now() / 1000, ...event })).finish();
    const record = new Uint8Array(8 + 4 + data.length + 4);
    const view = new DataView(record.buffer);
    view.setBigUint64(0, BigInt(data.length), true);
    view.setUint32(8, maskedCrc32c(record.subarray(0, 8)), true);
    record.set(data, 12);
    view.setUint32(12 + data.length, maskedCrc32c(data), true);
    try {
      writeAll(this.#file, record);
      this.#size += record.length;
    } catch (error) {
      this.#forgetHalfRecord();
      throw describeWriteError(error, this.path);
    }
  }
}

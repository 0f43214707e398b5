/**
 * Random access to bytes: a file, a part of a file, or memory.
 *
 * Reads of a file are synchronous on purpose: a seek and its read cannot then be torn apart by another tensor that
 * is read through the same file at the same time.
 */
import type { Fail } from "./checkpoint_error.ts";

/** Bytes that can be read anywhere. */
export interface ByteSource {
  /** How many there are. */
  readonly size: number;
  /** Fills `into` with the bytes from `position` on. Throws a `CheckpointError` where there are not as many. */
  readAt(position: number, into: Uint8Array): void;
}

/** An open file. */
export class FileSource implements ByteSource {
  readonly size: number;
  readonly #file: Deno.FsFile;
  readonly #fail: Fail;
  #closed = false;

  /** Takes over an open file; `fail` makes the errors. */
  constructor(file: Deno.FsFile, fail: Fail) {
    this.#file = file;
    this.#fail = fail;
    this.size = file.statSync().size;
  }

  readAt(position: number, into: Uint8Array): void {
    if (this.#closed) throw new Error("a tensor was read after its checkpoint file was closed");
    if (position + into.length > this.size) {
      throw this.#fail(
        `is truncated: bytes ${position} to ${
          position + into.length
        } are needed, but the file has ${this.size}; ` +
          "copy or download it again",
      );
    }
    this.#file.seekSync(position, Deno.SeekMode.Start);
    for (let done = 0; done < into.length;) {
      const read = this.#file.readSync(into.subarray(done));
      if (read === null) throw this.#fail("became shorter while it was being read");
      done += read;
    }
  }

  /** Closes the file; reading it afterwards is a bug and throws an ordinary Error. */
  close(): void {
    if (!this.#closed) this.#file.close();
    this.#closed = true;
  }
}

/** `size` bytes of another source, from `start` on. The range must lie within it. */
export class RangeSource implements ByteSource {
  readonly size: number;
  readonly #whole: ByteSource;
  readonly #start: number;

  /** Bytes `start` to `start + size` of `whole`. */
  constructor(whole: ByteSource, start: number, size: number) {
    this.#whole = whole;
    this.#start = start;
    this.size = size;
  }

  readAt(position: number, into: Uint8Array): void {
    if (position + into.length > this.size) throw new RangeError("read beyond the end of a range");
    this.#whole.readAt(this.#start + position, into);
  }
}

/** Bytes in memory. */
export class MemorySource implements ByteSource {
  readonly size: number;
  readonly #bytes: Uint8Array;

  /** The bytes themselves, not a copy. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.size = bytes.length;
  }

  readAt(position: number, into: Uint8Array): void {
    if (position + into.length > this.size) throw new RangeError("read beyond the end of a buffer");
    into.set(this.#bytes.subarray(position, position + into.length));
  }
}

/** Sources one behind the other. */
export class JoinedSource implements ByteSource {
  readonly size: number;
  readonly #parts: readonly ByteSource[];

  /** The parts in their order. */
  constructor(parts: readonly ByteSource[]) {
    this.#parts = parts;
    this.size = parts.reduce((sum, { size }) => sum + size, 0);
  }

  readAt(position: number, into: Uint8Array): void {
    if (position + into.length > this.size) throw new RangeError("read beyond the end of joined sources");
    let start = 0;
    for (const part of this.#parts) {
      const [first, last] = [Math.max(position, start), Math.min(position + into.length, start + part.size)];
      if (first < last) part.readAt(first - start, into.subarray(first - position, last - position));
      start += part.size;
    }
  }
}

/** Reads a source from front to back through a small buffer, with a limit on how far it may go. */
export class ByteReader {
  readonly #source: ByteSource;
  readonly #end: number;
  readonly #tooLong: string;
  readonly #fail: Fail;
  #buffer = new Uint8Array(1 << 14);
  #bufferAt = 0;
  #filled = 0;
  /** Position of the next byte in the source. */
  position: number;

  /**
   * Starts at `position`.
   *
   * @param limit bytes that may be read at most
   * @param what names what is read in errors, e.g. `the pickle`
   */
  constructor(source: ByteSource, position: number, limit: number, what: string, fail: Fail) {
    this.#source = source;
    this.position = position;
    this.#end = Math.min(source.size, position + limit);
    this.#fail = fail;
    this.#tooLong = this.#end < source.size
      ? `${what} is longer than ${limit} bytes, which is too much for a checkpoint`
      : `${what} ends prematurely; the file is damaged or truncated, copy or download it again`;
  }

  /** One byte. */
  byte(): number {
    const at = this.position - this.#bufferAt;
    if (at >= 0 && at < this.#filled) {
      this.position++;
      return this.#buffer[at];
    }
    this.#refill();
    this.position++;
    return this.#buffer[0];
  }

  /** An unsigned integer of `bytes` bytes, at most 4, little-endian. */
  uint(bytes: number): number {
    let value = 0;
    for (let i = 0; i < bytes; i++) value += this.byte() * 2 ** (8 * i);
    return value;
  }

  /** The next `length` bytes, in memory of their own. Checked before it is allocated. */
  bytes(length: number): Uint8Array<ArrayBuffer> {
    if (length > this.#end - this.position) throw this.#fail(this.#tooLong);
    const bytes = new Uint8Array(length);
    const at = this.position - this.#bufferAt;
    if (at >= 0 && at + length <= this.#filled) bytes.set(this.#buffer.subarray(at, at + length));
    else this.#source.readAt(this.position, bytes);
    this.position += length;
    return bytes;
  }

  #refill(): void {
    const count = Math.min(this.#buffer.length, this.#end - this.position);
    if (count <= 0) throw this.#fail(this.#tooLong);
    this.#source.readAt(this.position, this.#buffer.subarray(0, count));
    this.#bufferAt = this.position;
    this.#filled = count;
  }
}

/** One character a byte. (A TextDecoder of that name takes bytes 0x80 to 0x9f for Windows' punctuation.) */
export function decodeLatin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** The lower byte of each character. */
export function encodeLatin1(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Writes zip archives of stored entries, front to back: one entry's data is held at a time. */
import { crc32 } from "node:zlib";
import { writeAll } from "../../data/replace_file.ts";
import { encodeCentralHeader, encodeEnd, encodeLocalHeader, type StoredEntry } from "./zip_format.ts";

/** Bytes handed to the file at once; small entries are gathered, so that many of them are quick. */
const BUFFER_BYTES = 1 << 16;

/** A zip archive in the making. Errors are those of the file that it is written to. */
export class ZipWriter {
  readonly #file: Deno.FsFile;
  readonly #entries: StoredEntry[] = [];
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #buffered = 0;
  #position = 0;

  /**
   * Starts an archive at the beginning of a file.
   *
   * @param file empty and open for writing; stays open
   */
  constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /** Appends an entry whose data starts at a multiple of 64 bytes, as PyTorch's does. Names must differ. */
  add(name: string, data: Uint8Array): void {
    const entry = { name, size: data.length, crc32: crc32(data), offset: this.#position };
    this.#write(encodeLocalHeader(entry));
    this.#write(data);
    this.#entries.push(entry);
  }

  /** Writes the directory. Nothing can be added afterwards. */
  finish(): void {
    const start = this.#position;
    for (const entry of this.#entries) this.#write(encodeCentralHeader(entry));
    this.#write(encodeEnd(this.#entries.length, start, this.#position - start));
    this.#flush();
  }

  #write(bytes: Uint8Array): void {
    this.#position += bytes.length;
    if (this.#buffered + bytes.length > BUFFER_BYTES) this.#flush();
    if (bytes.length > BUFFER_BYTES) return writeAll(this.#file, bytes);
    this.#buffer.set(bytes, this.#buffered);
    this.#buffered += bytes.length;
  }

  #flush(): void {
    writeAll(this.#file, this.#buffer.subarray(0, this.#buffered));
    this.#buffered = 0;
  }
}

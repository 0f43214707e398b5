/** Reads zip archives by their directory: entries are found without reading the file, and read by seek. */
import { crc32 } from "node:zlib";
import { type ByteSource, MemorySource, RangeSource } from "./byte_source.ts";
import { type Fail, quote } from "./checkpoint_error.ts";
import {
  CENTRAL_HEADER,
  END_OF_DIRECTORY,
  LOCAL_HEADER,
  MAX_UINT16,
  MAX_UINT32,
  ZIP64_END_OF_DIRECTORY,
  ZIP64_EXTRA,
  ZIP64_LOCATOR,
} from "./zip_format.ts";

/** Deflate cannot shrink more than this (RFC 1951: 258 bytes in two bits); a larger claim is a bomb or damage. */
const DEFLATE_MAX_RATIO = 1032;
/**
 * A deflated entry is inflated into memory. Weights hardly shrink and `torch.save` stores them as they are, so that what
 * holds this many times its size, and more than any pickle needs, is a bomb.
 */
const INFLATED = { least: 64 * 2 ** 20, ratio: 16 };
/** Packed bytes that are inflated at a time; they can become a thousand times as many. */
const PACKED_CHUNK = 1 << 13;
const MAX_DIRECTORY_BYTES = 64 * 2 ** 20;
/** Bytes of the end record, without its comment. */
const END_BYTES = 22;
const STORED = 0;
const DEFLATED = 8;

/** An entry, as the directory describes it. */
export interface ZipEntry {
  /** Path in the archive. */
  readonly name: string;
  /** 0 for stored, 8 for deflated. */
  readonly method: number;
  /** CRC-32 of the data; 0 also where the writer did not compute it. */
  readonly crc32: number;
  /** Bytes in the archive. */
  readonly compressedSize: number;
  /** Bytes of the data. */
  readonly size: number;
  /** Where its local header starts. */
  readonly headerOffset: number;
}

/** The directory of a zip archive. */
export class ZipReader {
  /** The entries by name, in the directory's order. */
  readonly entries: ReadonlyMap<string, ZipEntry>;
  readonly #archive: ByteSource;
  readonly #fail: Fail;
  /** What was inflated last: several tensors may lie in one entry. */
  #last: { entry: ZipEntry; data: Uint8Array } | undefined;

  /** Reads the directory of `archive`. Throws a `CheckpointError` where it is missing, damaged or of an odd kind. */
  constructor(archive: ByteSource, fail: Fail) {
    this.#archive = archive;
    this.#fail = fail;
    this.entries = this.#readDirectory();
  }

  /**
   * The data of an entry. A stored entry is read from the file when its bytes are asked for; a deflated one is
   * inflated into memory here, and where all of it is wanted, checked against its declared size and its CRC-32.
   *
   * @param bytes how many are wanted of a deflated entry, from its start; the rest is not inflated
   */
  async open(entry: ZipEntry, bytes = entry.size): Promise<ByteSource> {
    const stored = new RangeSource(this.#archive, this.#dataOffset(entry), entry.compressedSize);
    if (entry.method === STORED) return stored;
    if (this.#last?.entry !== entry || this.#last.data.length !== bytes) {
      this.#last = undefined; // before the next is made
      this.#last = { entry, data: await this.#inflate(entry, stored, bytes) };
    }
    return new MemorySource(this.#last.data);
  }

  /**
   * Refuses to inflate what is beyond all measure, see {@linkcode INFLATED}.
   *
   * @param times that many entries may be as large as the largest
   */
  checkInflated(bytes: number, packed: number, what: string, times = 1): void {
    if (bytes <= times * INFLATED.least + INFLATED.ratio * packed) return;
    throw this.#fail(
      `has ${what} of ${bytes} bytes, deflated to ${packed}: too many to be weights. If they are weights, store them ` +
        "uncompressed, as torch.save does: unpack the archive and repack it with zip -0",
    );
  }

  #view(position: number, length: number): DataView<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    this.#archive.readAt(position, bytes);
    return new DataView(bytes.buffer);
  }

  /**
   * Finds the end record in the last 64 KiB. Behind it lies a comment of the length that it declares. Where other bytes
   * were added, it is the last record with a directory at the place that it names, as in PyTorch.
   */
  #findEnd(): { position: number; record: DataView<ArrayBuffer> } {
    const length = Math.min(this.#archive.size, END_BYTES + MAX_UINT16);
    const start = this.#archive.size - length;
    const tail = this.#view(start, length);
    let last: { position: number; record: DataView<ArrayBuffer> } | undefined;
    for (let at = length - END_BYTES; at >= 0; at--) {
      if (tail.getUint32(at, true) !== END_OF_DIRECTORY) continue;
      const found = { position: start + at, record: new DataView(tail.buffer, at, END_BYTES) };
      if (at + END_BYTES + tail.getUint16(at + 20, true) === length) return found;
      if (last === undefined && this.#endsDirectory(found)) last = found;
    }
    if (last !== undefined) return last;
    throw this.#fail(
      "starts as a zip archive, but the directory at its end is missing: the file is truncated, or has more than " +
        `${MAX_UINT16} extra bytes at its end; copy or download it again`,
    );
  }

  /** Whether an end record has an entry's header where it says that the directory begins. */
  #endsDirectory({ position, record }: { position: number; record: DataView<ArrayBuffer> }): boolean {
    const { offset, size } = this.#directoryRange(position, record);
    return size >= 4 && offset + size <= position &&
      this.#view(offset, 4).getUint32(0, true) === CENTRAL_HEADER;
  }

  /** What an end record, or its zip64 form before it, says of the directory. */
  #directoryRange(position: number, record: DataView<ArrayBuffer>) {
    let disk = record.getUint16(4, true);
    let count = record.getUint16(10, true);
    let size = record.getUint32(12, true);
    let offset = record.getUint32(16, true);
    if (count === MAX_UINT16 || size === MAX_UINT32 || offset === MAX_UINT32) {
      const end64 = this.#findZip64End(position);
      if (end64 !== undefined) {
        disk = end64.getUint32(16, true);
        count = this.#u64(end64, 32);
        size = this.#u64(end64, 40);
        offset = this.#u64(end64, 48);
      }
    }
    return { disk, count, size, offset };
  }

  #readDirectory(): Map<string, ZipEntry> {
    const { position, record } = this.#findEnd();
    const { disk, count, size, offset } = this.#directoryRange(position, record);
    if (disk !== 0) throw this.#fail("is one part of a multi-part zip archive; join the parts first");
    if (offset + size > position || size > MAX_DIRECTORY_BYTES || count * 46 > size) {
      throw this.#fail(
        `has a damaged zip directory: ${count} entries in ${size} bytes at ${offset}, in a file of ` +
          `${this.#archive.size} bytes`,
      );
    }
    const directory = this.#view(offset, size);
    const entries = new Map<string, ZipEntry>();
    for (let i = 0, at = 0; i < count; i++) {
      const { entry, next } = this.#readEntry(directory, at, i);
      if (entries.has(entry.name)) throw this.#fail(`has two zip entries named ${quote(entry.name)}`);
      entries.set(entry.name, entry);
      at = next;
    }
    return entries;
  }

  #findZip64End(endPosition: number): DataView<ArrayBuffer> | undefined {
    if (endPosition < 20) return undefined;
    const locator = this.#view(endPosition - 20, 20);
    if (locator.getUint32(0, true) !== ZIP64_LOCATOR) return undefined;
    const position = this.#u64(locator, 8);
    if (position + 56 > endPosition) throw this.#fail("has a damaged zip64 directory");
    const end = this.#view(position, 56);
    if (end.getUint32(0, true) !== ZIP64_END_OF_DIRECTORY) throw this.#fail("has a damaged zip64 directory");
    return end;
  }

  #readEntry(directory: DataView<ArrayBuffer>, at: number, index: number): { entry: ZipEntry; next: number } {
    const damaged = () => this.#fail(`has a damaged zip directory: entry ${index} cannot be read`);
    if (at + 46 > directory.byteLength || directory.getUint32(at, true) !== CENTRAL_HEADER) throw damaged();
    const nameLength = directory.getUint16(at + 28, true);
    const extraLength = directory.getUint16(at + 30, true);
    const extraAt = at + 46 + nameLength;
    const next = extraAt + extraLength + directory.getUint16(at + 32, true);
    if (next > directory.byteLength) throw damaged();
    const name = new TextDecoder().decode(new Uint8Array(directory.buffer, at + 46, nameLength));

    let compressedSize = directory.getUint32(at + 20, true);
    let size = directory.getUint32(at + 24, true);
    let headerOffset = directory.getUint32(at + 42, true);
    const extra = findExtra(directory, extraAt, extraLength, ZIP64_EXTRA);
    if (extra !== undefined) {
      let field = 0;
      const large = (value: number) => {
        if (value !== MAX_UINT32) return value;
        if (field + 8 > extra.byteLength) throw damaged();
        field += 8;
        return this.#u64(extra, field - 8);
      };
      size = large(size);
      compressedSize = large(compressedSize);
      headerOffset = large(headerOffset);
    }
    const flags = directory.getUint16(at + 8, true);
    const method = directory.getUint16(at + 10, true);
    if ((flags & 1) !== 0) throw this.#fail(`has an encrypted zip entry, ${quote(name)}; it cannot be read`);
    if (method !== STORED && method !== DEFLATED) {
      throw this.#fail(
        `has the zip entry ${quote(name)} of compression method ${method}; only 0 and 8 are supported`,
      );
    }
    if (method === STORED && size !== compressedSize) throw damaged();
    if (method === DEFLATED && size > compressedSize * DEFLATE_MAX_RATIO) {
      throw this.#fail(
        `has the zip entry ${
          quote(name)
        } that claims to hold ${size} bytes in ${compressedSize}, more than deflate ` +
          "can compress: a zip bomb, or damaged",
      );
    }
    if (headerOffset + 30 + compressedSize > this.#archive.size) {
      throw this.#fail(`is truncated: the zip entry ${quote(name)} lies beyond its end`);
    }
    const entry = {
      name,
      method,
      crc32: directory.getUint32(at + 16, true),
      compressedSize,
      size,
      headerOffset,
    };
    return { entry, next };
  }

  #dataOffset(entry: ZipEntry): number {
    const header = this.#view(entry.headerOffset, 30);
    const start = entry.headerOffset + 30 + header.getUint16(26, true) + header.getUint16(28, true);
    if (header.getUint32(0, true) !== LOCAL_HEADER || start + entry.compressedSize > this.#archive.size) {
      throw this.#fail(`has a damaged zip entry: ${quote(entry.name)} is not where the directory says`);
    }
    return start;
  }

  async #inflate(entry: ZipEntry, packed: ByteSource, wanted: number): Promise<Uint8Array> {
    const damaged = (how: string) => this.#fail(`has a damaged zip entry: ${quote(entry.name)} ${how}`);
    this.checkInflated(wanted, entry.compressedSize, `the zip entry ${quote(entry.name)}`);
    const data = allocate(wanted);
    if (data === undefined) throw damaged(`claims ${wanted} bytes, more than memory holds`);
    let done = 0;
    let position = 0;
    const chunks = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull(controller) {
        const chunk = new Uint8Array(Math.min(PACKED_CHUNK, packed.size - position));
        if (chunk.length === 0) return controller.close();
        packed.readAt(position, chunk);
        position += chunk.length;
        controller.enqueue(chunk);
      },
    });
    try {
      for await (const chunk of chunks.pipeThrough(new DecompressionStream("deflate-raw"))) {
        if (done + chunk.length > data.length) {
          if (wanted === entry.size) throw damaged(`inflates to more than the ${entry.size} bytes declared`);
          data.set(chunk.subarray(0, data.length - done), done);
          return data;
        }
        data.set(chunk, done);
        done += chunk.length;
      }
    } catch (error) {
      throw error instanceof TypeError ? damaged("does not inflate") : error;
    }
    if (done !== data.length) throw damaged(`inflates to ${done} bytes, not the ${wanted} declared`);
    if (wanted === entry.size && entry.crc32 !== 0 && crc32(data) !== entry.crc32) {
      throw damaged("does not match its CRC-32");
    }
    return data;
  }

  #u64(view: DataView, at: number): number {
    const value = Number(view.getBigUint64(at, true));
    if (!Number.isSafeInteger(value)) {
      throw this.#fail(`has a damaged zip64 directory: an offset of ${value}`);
    }
    return value;
  }
}

function findExtra(
  view: DataView<ArrayBuffer>,
  start: number,
  length: number,
  id: number,
): DataView | undefined {
  for (let at = start; at + 4 <= start + length;) {
    const size = view.getUint16(at + 2, true);
    if (at + 4 + size > start + length) return undefined;
    if (view.getUint16(at, true) === id) return new DataView(view.buffer, at + 4, size);
    at += 4 + size;
  }
  return undefined;
}

function allocate(bytes: number): Uint8Array<ArrayBuffer> | undefined {
  try {
    return new Uint8Array(bytes);
  } catch {
    return undefined;
  }
}

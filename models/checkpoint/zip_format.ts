/**
 * The records of a zip archive as PyTorch writes them (PKWARE APPNOTE 4.3): local header, central directory, end,
 * and their zip64 forms. No compression, no encryption, one disk.
 */

/** Signature of the header before an entry's data. */
export const LOCAL_HEADER = 0x04034b50;
/** Signature of an entry in the directory. */
export const CENTRAL_HEADER = 0x02014b50;
/** Signature of the record that closes the archive. */
export const END_OF_DIRECTORY = 0x06054b50;
/** Signature of its zip64 form. */
export const ZIP64_END_OF_DIRECTORY = 0x06064b50;
/** Signature of the record that points to the zip64 form. */
export const ZIP64_LOCATOR = 0x07064b50;
/** Extra field with what does not fit into 32 bits. */
export const ZIP64_EXTRA = 0x0001;
/** Values that do not fit hold all ones; the zip64 extra field has the real ones. */
export const MAX_UINT32 = 0xffffffff;
/** The same for 16 bits. */
export const MAX_UINT16 = 0xffff;

/** Bytes to which PyTorch aligns a record's data, so that it can be mapped into memory. */
export const DATA_ALIGNMENT = 64;
/** Extra field with which PyTorch pads, `FB`. */
const PADDING_EXTRA = 0x4246;
const UTF8_NAMES = 0x0800;
const VERSION_ZIP64 = 45;
const VERSION_PLAIN = 20;
const LOCAL_BYTES = 30;
/** 1 January 1980, the first day that a zip file knows: equal contents give equal files. */
const DATE = 0x21;

/** A stored entry, as the directory describes it. */
export interface StoredEntry {
  /** Path in the archive. */
  readonly name: string;
  /** Bytes of the data. */
  readonly size: number;
  /** CRC-32 of the data. */
  readonly crc32: number;
  /** Where its local header starts. */
  readonly offset: number;
}

class Fields {
  readonly #view: DataView<ArrayBuffer>;
  #at = 0;
  constructor(bytes: number) {
    this.#view = new DataView(new ArrayBuffer(bytes));
  }
  u16(value: number): this {
    this.#view.setUint16(this.#at, value, true);
    this.#at += 2;
    return this;
  }
  u32(value: number): this {
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
    return this;
  }
  u64(value: number): this {
    this.#view.setBigUint64(this.#at, BigInt(value), true);
    this.#at += 8;
    return this;
  }
  text(bytes: Uint8Array): this {
    new Uint8Array(this.#view.buffer).set(bytes, this.#at);
    this.#at += bytes.length;
    return this;
  }
  fill(value: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#view.buffer).fill(value, this.#at);
  }
}

/** The local header of an entry, padded so that the data behind it starts at a multiple of 64 bytes. */
export function encodeLocalHeader(entry: StoredEntry): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(entry.name);
  const isLarge = entry.size >= MAX_UINT32;
  const zip64Bytes = isLarge ? 20 : 0;
  const unpadded = entry.offset + LOCAL_BYTES + name.length + zip64Bytes + 4;
  const padding = (DATA_ALIGNMENT - unpadded % DATA_ALIGNMENT) % DATA_ALIGNMENT;
  const size = isLarge ? MAX_UINT32 : entry.size;
  const fields = new Fields(LOCAL_BYTES + name.length + zip64Bytes + 4 + padding)
    .u32(LOCAL_HEADER).u16(isLarge ? VERSION_ZIP64 : VERSION_PLAIN).u16(UTF8_NAMES).u16(0).u16(0).u16(DATE)
    .u32(entry.crc32).u32(size).u32(size).u16(name.length).u16(zip64Bytes + 4 + padding).text(name);
  if (isLarge) fields.u16(ZIP64_EXTRA).u16(16).u64(entry.size).u64(entry.size);
  return fields.u16(PADDING_EXTRA).u16(padding).fill(0x5a);
}

/** An entry of the central directory. */
export function encodeCentralHeader(entry: StoredEntry): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(entry.name);
  const isLarge = entry.size >= MAX_UINT32;
  const isFar = entry.offset >= MAX_UINT32;
  const zip64Bytes = (isLarge ? 16 : 0) + (isFar ? 8 : 0);
  const extra = zip64Bytes === 0 ? 0 : 4 + zip64Bytes;
  const version = extra === 0 ? VERSION_PLAIN : VERSION_ZIP64;
  const size = isLarge ? MAX_UINT32 : entry.size;
  const fields = new Fields(46 + name.length + extra)
    .u32(CENTRAL_HEADER).u16(version).u16(version).u16(UTF8_NAMES).u16(0).u16(0).u16(DATE).u32(entry.crc32)
    .u32(size).u32(size).u16(name.length).u16(extra).u16(0).u16(0).u16(0).u32(0)
    .u32(isFar ? MAX_UINT32 : entry.offset).text(name);
  if (extra > 0) fields.u16(ZIP64_EXTRA).u16(zip64Bytes);
  if (isLarge) fields.u64(entry.size).u64(entry.size);
  if (isFar) fields.u64(entry.offset);
  return fields.fill(0);
}

/**
 * What closes the archive: the end record, with zip64's before it where a number does not fit.
 *
 * @param count entries in the directory
 * @param offset where the directory starts
 * @param size bytes of the directory
 */
export function encodeEnd(count: number, offset: number, size: number): Uint8Array<ArrayBuffer> {
  const isZip64 = count >= MAX_UINT16 || offset >= MAX_UINT32 || size >= MAX_UINT32;
  const fields = new Fields(22 + (isZip64 ? 76 : 0));
  if (isZip64) {
    fields.u32(ZIP64_END_OF_DIRECTORY).u64(44).u16(VERSION_ZIP64).u16(VERSION_ZIP64).u32(0).u32(0)
      .u64(count).u64(count).u64(size).u64(offset)
      .u32(ZIP64_LOCATOR).u32(0).u64(offset + size).u32(1);
  }
  const entries = Math.min(count, MAX_UINT16);
  return fields.u32(END_OF_DIRECTORY).u16(0).u16(0).u16(entries).u16(entries)
    .u32(Math.min(size, MAX_UINT32)).u32(Math.min(offset, MAX_UINT32)).u16(0).fill(0);
}

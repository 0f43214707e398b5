/** What the formats that this project decodes itself have in common. */
import { cutImage } from "../broken_image.ts";

/** A file whose header has been read. */
export interface ParsedImage {
  /** In pixels; at least 1. */
  width: number;
  /** In pixels; at least 1. */
  height: number;
  /**
   * Decodes the pixels: RGBA8, [height, width], a word each; alpha is 255.
   *
   * @throws BrokenImageError where the file is truncated or damaged
   */
  decode(): Uint32Array;
}

/** The word of an opaque pixel. */
export function pack(red: number, green: number, blue: number): number {
  return (red | (green << 8) | (blue << 16) | 0xff000000) >>> 0;
}

/**
 * Returns the words of 256 colours. Pillow takes entry i for the gray (i, i, i) where a palette ends before it.
 *
 * @param colour of an entry that the file has
 */
export function completeColours(entries: number, colour: (i: number) => number): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, i) => i < entries ? colour(i) : pack(i, i, i));
}

/** Calls a function that reads a header; what it looks for behind the end of the file is missing. */
export function readHeader<T>(bytes: Uint8Array, read: (view: DataView) => T): T {
  try {
    return read(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  } catch (error) {
    if (error instanceof RangeError) throw cutImage(bytes);
    throw error;
  }
}

/** Many images in one buffer, for one transfer to another Worker and one upload to a GPU. */
import { UserError } from "../errors.ts";
import type { Image, UnwrittenImage } from "./decode.ts";

/** Number of uint32 words per image in the table: offset, width, height, row, label. */
export const TABLE_STRIDE: number = 5;

/** The pixels start at a multiple of this many bytes, so that they can be bound by themselves on any GPU. */
const PIXELS_ALIGNMENT = 256;

/** Pixels of a batch, whose offsets are uint32: 16 GiB. */
export const MAX_PACKED_PIXELS: number = 2 ** 32 - 1;

/**
 * Images of a batch. `table` and `pixels` share one ArrayBuffer: post the object with `[packed.table.buffer]` as its
 * transfer list.
 */
export interface PackedImages {
  /** Number of images. */
  count: number;
  /**
   * uint32 [count, 5], at the start of the buffer:
   * - offset of the first pixel, in pixels (4 bytes), from the start of `pixels`
   * - width
   * - height
   * - row in the TSV, from 0
   * - label; an int32 whose bits are kept (`label | 0` gives a negative one back)
   */
  table: Uint32Array<ArrayBuffer>;
  /** RGBA8, the images one after the other, each [height, width, 4]. */
  pixels: Uint8Array<ArrayBuffer>;
}

/** An image for `packImages`. */
export type PackableImage = (Image | UnwrittenImage) & { row: number; label: number };

/**
 * Packs images of any sizes into one buffer.
 *
 * @throws {UserError} if they need a larger buffer than can be allocated
 * @param images decoded images, with row and label
 * @param into buffer to reuse if it is large enough; its contents are overwritten
 * @returns views of `into` or of a new buffer. Its size is the next power of two, so that a stream of batches soon
 *   needs no new ones
 *
 * @example
 * ```ts
 * const packed = packImages(await reader.read(order, 0), returnedBuffer);
 * worker.postMessage(packed, [packed.table.buffer]);
 * ```
 */
export function packImages(images: readonly PackableImage[], into?: ArrayBuffer): PackedImages {
  const tableBytes = 4 * TABLE_STRIDE * images.length;
  const pixelsStart = Math.ceil(tableBytes / PIXELS_ALIGNMENT) * PIXELS_ALIGNMENT;
  const pixelsBytes = images.reduce((bytes, { width, height }) => bytes + 4 * width * height, 0);
  const needed = pixelsStart + pixelsBytes;
  if (pixelsBytes > 4 * MAX_PACKED_PIXELS) throw batchTooLarge(images.length, needed);
  const buffer = into !== undefined && into.byteLength >= needed ? into : allocate(images.length, needed);

  const table = new Uint32Array(buffer, 0, TABLE_STRIDE * images.length);
  const pixels = new Uint8Array(buffer, pixelsStart, pixelsBytes);
  let offset = 0;
  for (const [i, image] of images.entries()) {
    const { width, height, row, label } = image;
    if ("writeTo" in image) {
      image.writeTo(new Uint32Array(buffer, pixelsStart + 4 * offset, width * height));
    } else if (image.pixels.length === 4 * width * height) {
      pixels.set(image.pixels, 4 * offset);
    } else {
      throw new Error(
        `image ${i}: ${width} x ${height} RGBA8 needs ${
          4 * width * height
        } bytes, has ${image.pixels.length}`,
      );
    }
    table.set([offset, width, height, row, label], TABLE_STRIDE * i);
    offset += width * height;
  }
  return { count: images.length, table, pixels };
}

/** Room of the next power of two. */
function allocate(count: number, needed: number): ArrayBuffer {
  try {
    return new ArrayBuffer(2 ** Math.ceil(Math.log2(Math.max(needed, PIXELS_ALIGNMENT))));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw batchTooLarge(count, needed);
  }
}

/** The error of images that do not fit one buffer; `bytes` are those that are known to be needed. */
export function batchTooLarge(count: number, bytes: number): UserError {
  return new UserError(
    `a batch of ${count} images takes at least ${
      (bytes / 2 ** 30).toFixed(1)
    } GiB, which does not fit: use smaller ` +
      "images, or a smaller --batch-size or --max-pixels",
  );
}

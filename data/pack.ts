/** Many pictures in one buffer, for one transfer to another Worker and one upload to a GPU. */
import type { Picture, UnwrittenPicture } from "./decode.ts";

/** uint32 words that the table has for each picture: offset, width, height, row, label. */
export const TABLE_STRIDE = 5;

/** The pixels start at a multiple of this many bytes, so that they can be bound by themselves on any GPU. */
const PIXELS_ALIGNMENT = 256;

/** Pictures of a batch. All three fields see one ArrayBuffer: post the object with `[packed.table.buffer]` as transfer. */
export interface PackedPictures {
  /** How many pictures there are. */
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
  /** RGBA8, the pictures one after the other, each [height, width, 4]. */
  pixels: Uint8Array<ArrayBuffer>;
}

/** What `packPictures` needs of a picture. */
export type PackablePicture = (Picture | UnwrittenPicture) & { row: number; label: number };

/**
 * Packs pictures of any sizes.
 *
 * @param pictures decoded, with row and label
 * @param into a buffer to use again, if it is large enough; its content is overwritten
 * @returns views on `into`, or on a new buffer whose size is the next power of two, so that a stream of batches soon
 * needs no new ones
 *
 * @example
 * ```ts
 * const packed = packPictures(await reader.read(order, 0), returnedBuffer);
 * worker.postMessage(packed, [packed.table.buffer]);
 * ```
 */
export function packPictures(pictures: readonly PackablePicture[], into?: ArrayBuffer): PackedPictures {
  const tableBytes = 4 * TABLE_STRIDE * pictures.length;
  const pixelsStart = Math.ceil(tableBytes / PIXELS_ALIGNMENT) * PIXELS_ALIGNMENT;
  const pixelsBytes = pictures.reduce((bytes, { width, height }) => bytes + 4 * width * height, 0);
  const needed = pixelsStart + pixelsBytes;
  const buffer = into !== undefined && into.byteLength >= needed
    ? into
    : new ArrayBuffer(2 ** Math.ceil(Math.log2(Math.max(needed, PIXELS_ALIGNMENT))));

  const table = new Uint32Array(buffer, 0, TABLE_STRIDE * pictures.length);
  const pixels = new Uint8Array(buffer, pixelsStart, pixelsBytes);
  let offset = 0;
  for (const [i, picture] of pictures.entries()) {
    const { width, height, row, label } = picture;
    if ("writeTo" in picture) {
      picture.writeTo(new Uint32Array(buffer, pixelsStart + 4 * offset, width * height));
    } else if (picture.pixels.length === 4 * width * height) {
      pixels.set(picture.pixels, 4 * offset);
    } else {
      throw new Error(
        `picture ${i}: ${width} x ${height} RGBA8 needs ${
          4 * width * height
        } bytes, has ${picture.pixels.length}`,
      );
    }
    table.set([offset, width, height, row, label], TABLE_STRIDE * i);
    offset += width * height;
  }
  return { count: pictures.length, table, pixels };
}

/**
 * BMP, of Windows and OS/2, as Pillow reads it. Here because decoders on npm take few of these kinds, and `bmp-ts` reads
 * run lengths, odd widths of 4 bits and palettes before a gap wrongly.
 *
 * Source: https://learn.microsoft.com/windows/win32/gdi/bitmap-storage; Pillow, `BmpImagePlugin.py`.
 */
import { brokenImage, BrokenImageError, cutImage } from "../broken_image.ts";
import { completeColours, pack, type ParsedImage, readHeader } from "./parsed_image.ts";

const HEADER_SIZES = [12, 40, 52, 56, 64, 108, 124];
/** Values of a header's field. */
const [RAW, RLE8, RLE4, BITFIELDS] = [0, 1, 2, 3];

/** Bits of red, green and blue, by the bits of a pixel; alpha is not needed. */
const MASKS: Readonly<Record<number, readonly (readonly number[])[]>> = {
  16: [[0x7c00, 0x3e0, 0x1f], [0xf800, 0x7e0, 0x1f]],
  24: [[0xff0000, 0xff00, 0xff]],
  32: [[0xff0000, 0xff00, 0xff], [0xff000000, 0xff0000, 0xff00], [0xff, 0xff00, 0xff0000], [0, 0, 0]],
};

function refuse(found: string): BrokenImageError {
  return new BrokenImageError(
    "expected a BMP image of 1, 4 or 8 bits with a palette (also run-length encoded), or of 16, 24 or 32 bits, " +
      `found one ${found}; convert it to PNG`,
  );
}

/** Reads the header, the masks and the palette. */
export function parseBmp(bytes: Uint8Array): ParsedImage {
  return readHeader(bytes, (view) => {
    const headerSize = view.getUint32(14, true);
    if (!HEADER_SIZES.includes(headerSize)) throw refuse(`with a header of ${headerSize} bytes`);
    const isOld = headerSize === 12;
    const isTopDown = !isOld && view.getUint8(25) === 0xff;
    const width = isOld ? view.getUint16(18, true) : view.getUint32(18, true);
    const declared = isOld ? view.getUint16(20, true) : view.getUint32(22, true);
    const height = isTopDown ? 2 ** 32 - declared : declared;
    const bits = view.getUint16(isOld ? 24 : 28, true);
    const compression = isOld ? RAW : view.getUint32(30, true);
    const entries = (isOld ? 0 : view.getUint32(46, true)) || 2 ** bits;
    let at = 14 + headerSize;
    if (at > bytes.length) throw cutImage(bytes);
    if (width === 0 || height === 0) throw brokenImage(`it has ${width} x ${height} pixels`);
    if (![1, 4, 8, 16, 24, 32].includes(bits)) throw refuse(`of ${bits} bits`);
    const isRunLength = compression === RLE8 && bits === 8 || compression === RLE4 && bits === 4;
    const hasMasks = compression === BITFIELDS && bits >= 16;
    if (compression !== RAW && !isRunLength && !hasMasks) {
      throw refuse(`of ${bits} bits with compression ${compression}`);
    }
    let masks = MASKS[bits]?.[0];
    if (hasMasks) {
      // Behind a header of 40 bytes, in a larger one.
      const given = [54, 58, 62].map((offset) => view.getUint32(offset, true));
      if (headerSize === 40) at += 12;
      masks = MASKS[bits].find((known) => known.every((mask, i) => mask === given[i]))!;
      if (masks === undefined) {
        throw refuse(`of ${bits} bits with the masks ${given.map((mask) => mask.toString(16)).join(", ")}`);
      }
      if (masks[0] === 0) masks = MASKS[bits][0];
    }
    let start = view.getUint32(10, true);
    let colours: Uint32Array | undefined;
    if (bits <= 8) {
      if (entries > 256) throw refuse(`with a palette of ${entries} colours`);
      // Some files point at the palette.
      if (start === 14 + headerSize) start += 4 * entries;
      const stride = isOld ? 3 : 4;
      const palette = at;
      at += stride * entries;
      if (at > bytes.length) throw cutImage(bytes);
      colours = completeColours(
        entries,
        (i) =>
          pack(bytes[palette + stride * i + 2], bytes[palette + stride * i + 1], bytes[palette + stride * i]),
      );
      refuseMisread(colours, entries, bits, isRunLength);
    }
    start ||= at;
    const decode = () => {
      const pixels = { bytes, start, width, height };
      if (isRunLength) return decodeRuns(pixels, colours!, bits === 4, isTopDown);
      return decodeRows(pixels, bits, isTopDown, colours ?? masks);
    };
    return { width, height, decode };
  });
}

/** Refuses palettes of grays in order which Pillow takes for samples of 1 or 8 bits, whatever they are. */
function refuseMisread(colours: Uint32Array, entries: number, bits: number, isRunLength: boolean): void {
  const grays = entries === 2 ? [0, 255] : Array.from({ length: entries }, (_, i) => i);
  if (!grays.every((gray, i) => colours[i] === pack(gray, gray, gray))) return;
  if (entries === 2 ? bits !== 1 : bits !== 8 && !isRunLength) {
    throw refuse(
      `of ${bits} bits with a palette of ${entries} grays only, which Pillow reads as another kind`,
    );
  }
}

/** Where pixels lie, and how many. */
interface Pixels {
  bytes: Uint8Array;
  start: number;
  width: number;
  height: number;
}

/**
 * Decodes rows that are not compressed; each begins at a multiple of four bytes.
 *
 * @param colours the palette's words, or the masks of red, green and blue
 */
function decodeRows(
  { bytes, start, width, height }: Pixels,
  bits: number,
  isTopDown: boolean,
  colours: Uint32Array | readonly number[],
): Uint32Array {
  const stride = Math.floor((width * bits + 31) / 32) * 4;
  // The last row needs no padding.
  if (start + stride * (height - 1) + Math.ceil(width * bits / 8) > bytes.length) throw cutImage(bytes);
  const words = new Uint32Array(width * height);
  const read = colours instanceof Uint32Array
    ? readIndexed(bytes, bits, colours)
    : readMasked(bytes, bits, colours);
  for (let y = 0; y < height; y++) {
    const from = start + stride * y;
    const to = width * (isTopDown ? y : height - 1 - y);
    for (let x = 0; x < width; x++) words[to + x] = read(from, x);
  }
  return words;
}

/** Reads pixel x of the row that begins at an offset. */
type ReadPixel = (from: number, x: number) => number;

function readIndexed(bytes: Uint8Array, bits: number, colours: Uint32Array): ReadPixel {
  if (bits === 8) return (from, x) => colours[bytes[from + x]];
  const [perByte, mask] = [8 / bits, 2 ** bits - 1];
  return (from, x) =>
    colours[(bytes[from + Math.floor(x / perByte)] >> (8 - bits - bits * (x % perByte))) & mask];
}

function readMasked(bytes: Uint8Array, bits: number, masks: readonly number[]): ReadPixel {
  if (bits > 16) {
    const [red, green, blue] = masks.map((mask) => (31 - Math.clz32(mask)) >> 3);
    const size = bits / 8;
    return (from, x) => {
      const at = from + size * x;
      return pack(bytes[at + red], bytes[at + green], bytes[at + blue]);
    };
  }
  const [red, green, blue] = masks.map((mask) => {
    const shift = 31 - Math.clz32(mask & -mask);
    const largest = mask >> shift;
    return (value: number) => Math.floor(((value >> shift) & largest) * 255 / largest);
  });
  return (from, x) => {
    const value = bytes[from + 2 * x] | (bytes[from + 2 * x + 1] << 8);
    return pack(red(value), green(value), blue(value));
  };
}

/** Decodes run lengths of indices of 8 bits, or of 4. */
function decodeRuns(
  { bytes, start, width, height }: Pixels,
  colours: Uint32Array,
  isFourBits: boolean,
  isTopDown: boolean,
): Uint32Array {
  const count = width * height;
  const indices = new Uint8Array(count);
  let done = 0;
  let x = 0;
  const put = (index: number) => indices[done++] = index; // beyond the end it is lost
  for (let at = start; done < count;) {
    if (at + 2 > bytes.length) throw cutImage(bytes);
    const [length, value] = [bytes[at++], bytes[at++]];
    if (length > 0) { // a run, of two indices in turn where they have 4 bits
      const pixels = Math.max(0, Math.min(length, width - x));
      for (let i = 0; i < pixels; i++) put(!isFourBits ? value : i % 2 === 0 ? value >> 4 : value & 15);
      x += pixels;
    } else if (value === 0) { // the end of the row
      done = Math.ceil(done / width) * width;
      x = 0;
    } else if (value === 1) { // the end of the image
      throw brokenImage(`its data end after ${done} of ${count} pixels`);
    } else if (value === 2) { // to the right and on by rows
      throw refuse("run-length encoded with gaps, which Pillow misreads");
    } else { // indices one by one
      if (isFourBits && value % 2 === 1) {
        throw refuse("of 4 bits, run-length encoded with an odd number of pixels, which Pillow misreads");
      }
      const size = isFourBits ? value / 2 : value;
      if (at + size > bytes.length) throw cutImage(bytes);
      for (const end = at + size; at < end; at++) {
        if (isFourBits) put(bytes[at] >> 4);
        put(isFourBits ? bytes[at] & 15 : bytes[at]);
      }
      x += value;
      at += at % 2;
    }
  }
  const words = new Uint32Array(count);
  for (let y = 0; y < height; y++) {
    const from = width * (isTopDown ? y : height - 1 - y);
    for (let x = 0; x < width; x++) words[width * y + x] = colours[indices[from + x]];
  }
  return words;
}

/**
 * What the first bytes of an image's file say: its format, its size, and what of it is missing. Sizes are those that the
 * file declares; nothing is decoded.
 */
import { crc32 } from "node:zlib";
import { BrokenImageError } from "./broken_image.ts";
import { parseBmp } from "./formats/bmp.ts";
import { parseGif } from "./formats/gif.ts";
import { isNetpbm, parseNetpbm } from "./formats/netpbm.ts";
import type { ParsedImage } from "./formats/parsed_image.ts";
import { isTiff, parseTiff, type TiffHeader } from "./formats/tiff.ts";

/** Formats that are decoded. */
export type ImageFormat = "JPEG" | "PNG" | "WebP" | "GIF" | "BMP" | "TIFF" | "PPM";

/** What messages say of files that are decoded. */
export const IMAGE_FORMATS = "a JPEG, PNG, WebP, GIF, BMP, TIFF or PPM image";

/** What their names end with, in lower case: torchvision's `IMG_EXTENSIONS` and a few more. */
export const IMAGE_EXTENSIONS: readonly string[] = [
  "jpg",
  "jpeg",
  "png",
  "webp",
  "gif",
  "bmp",
  "tif",
  "tiff",
  "pbm",
  "pgm",
  "ppm",
  "pnm",
];

/** Facts of a file of such a format. */
export interface ImageHeader {
  format: ImageFormat;
  /** In pixels; 0 where the file does not say it where it should. */
  width: number;
  /** In pixels; 0 likewise. */
  height: number;
  /** Of a JPEG: components of a pixel, 4 for CMYK; 0 where the file does not say. */
  components?: number;
  /** Of a PNG: bits of a sample. */
  depth?: number;
  /** Of a PNG: 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGBA. */
  colourType?: number;
  /** Of a GIF, BMP or PPM: what decodes it. */
  parsed?: ParsedImage;
  /** Of a TIFF. */
  tiff?: TiffHeader;
  /** Of these four, and of a JPEG of a kind that is not decoded: why the header tells no size. */
  problem?: BrokenImageError;
}

/** Beginnings of files that people take for images: [what it is, offset, text of one byte a character]. */
const OTHER_FORMATS: readonly [name: string, offset: number, bytes: string][] = [
  ["a PAM image", 0, "P7\n"],
  ["a PFM image", 0, "PF\n"],
  ["a PFM image", 0, "Pf\n"],
  ["an AVIF image", 4, "ftypavi"],
  ["a HEIC image", 4, "ftyphei"],
  ["a HEIC image", 4, "ftyphev"],
  ["a HEIC or AVIF image", 4, "ftypmif1"],
  ["a HEIC or AVIF image", 4, "ftypmsf1"],
  ["a video", 4, "ftyp"],
  ["a JPEG 2000 image", 4, "jP  "],
  ["a JPEG 2000 image", 0, "\xff\x4f\xff\x51"],
  ["a JPEG XL image", 4, "JXL "],
  ["a JPEG XL image", 0, "\xff\x0a"],
  ["an icon (ICO)", 0, "\0\0\x01\0"],
  ["a Photoshop file", 0, "8BPS"],
  ["a PDF file", 0, "%PDF"],
  ["a PNG image as Xcode makes it for iPhones (CgBI)", 12, "CgBI"],
  ["a zip archive", 0, "PK\x03\x04"],
  ["a gzip-compressed file", 0, "\x1f\x8b"],
  ["a Git LFS pointer", 0, "version https://git-lfs"],
];

function startsWith(bytes: Uint8Array, text: string, offset = 0): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[offset + i] !== text.charCodeAt(i)) return false;
  return true;
}

/** Reads the header of a file; `undefined` where it is of no format that is decoded. */
export function readImageHeader(bytes: Uint8Array): ImageHeader | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (startsWith(bytes, "\xff\xd8\xff")) return { format: "JPEG", ...readFrame(view) };
  if (startsWith(bytes, "\x89PNG") && !startsWith(bytes, "CgBI", 12)) {
    if (bytes.length < 26) return { format: "PNG", width: 0, height: 0 };
    const [depth, colourType] = bytes.subarray(24, 26);
    return { format: "PNG", width: view.getUint32(16), height: view.getUint32(20), depth, colourType };
  }
  if (startsWith(bytes, "RIFF") && startsWith(bytes, "WEBP", 8)) {
    return { format: "WebP", ...readWebpSize(bytes, view) };
  }
  if (startsWith(bytes, "GIF87a") || startsWith(bytes, "GIF89a")) return parse("GIF", bytes, parseGif);
  if (startsWith(bytes, "BM")) return parse("BMP", bytes, parseBmp);
  if (isNetpbm(bytes)) return parse("PPM", bytes, parseNetpbm);
  if (isTiff(bytes)) return parse("TIFF", bytes, parseTiff);
  return undefined;
}

/** Reads a header whose problems are told by whoever decodes the image. */
function parse(
  format: ImageFormat,
  bytes: Uint8Array,
  read: (bytes: Uint8Array) => ParsedImage | TiffHeader,
): ImageHeader {
  try {
    const found = read(bytes);
    const { width, height } = found;
    return { format, width, height, ...("decode" in found ? { parsed: found } : { tiff: found }) };
  } catch (problem) {
    if (!(problem instanceof BrokenImageError)) throw problem;
    return { format, width: 0, height: 0, problem };
  }
}

/** Names what a file is that has no header for {@linkcode readImageHeader}, with an article. */
export function describeOtherFormat(bytes: Uint8Array): string {
  if (bytes.length === 0) return "an empty file";
  const size = ` of ${bytes.length} bytes`;
  const known = OTHER_FORMATS.find(([, offset, text]) => startsWith(bytes, text, offset));
  const advice =
    ", which is not supported; convert it to PNG first, for example with ImageMagick's `magick FILE FILE.png`";
  if (known !== undefined) {
    const [name] = known;
    if (name.includes("LFS")) return `${name}${size}; get the file with \`git lfs pull\``;
    if (name.includes("CgBI")) {
      return `${name}${size}, which is not supported; convert it with Xcode's \`pngcrush -revert-iphone-optimizations\``;
    }
    return name + size + (/image|icon|Photoshop/.test(name) ? advice : "");
  }
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, 1024)).replace(/^(\xef\xbb\xbf)?\s*/, "");
  if (/^(<!doctype html|<html)/i.test(text)) return `a web page${size}`;
  if (/^<(svg|\?xml[^]*<svg)/i.test(text)) return `an SVG image${size}${advice}`;
  const start = Array.from(bytes.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return `${bytes.length} bytes that start with ${start}`;
}

/** Kinds of JPEGs by their start-of-frame marker (ITU-T T.81, table B.1), besides those that are decoded. */
const OTHER_JPEGS: Readonly<Record<number, string>> = {
  ...Object.fromEntries([0xc3, 0xcb].map((marker) => [marker, "a lossless one"])),
  ...Object.fromEntries([0xc5, 0xc6, 0xc7, 0xcd, 0xce, 0xcf].map((marker) => [marker, "a hierarchical one"])),
};

/** A JPEG's start-of-frame segment. */
function readFrame(view: DataView): Pick<ImageHeader, "width" | "height" | "components" | "problem"> {
  for (let at = 2; at + 9 < view.byteLength;) {
    if (view.getUint8(at) !== 0xff) break;
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) {
      at++; // a fill byte
      continue;
    }
    // SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC).
    if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) {
      const bits = view.getUint8(at + 4);
      const kind = OTHER_JPEGS[marker] ?? (bits === 8 ? undefined : `one of ${bits} bits`);
      if (kind !== undefined) {
        const problem = new BrokenImageError(
          `expected a JPEG image of 8 bits a channel, baseline or progressive, found ${kind}; convert it to PNG first`,
        );
        return { width: 0, height: 0, components: 0, problem };
      }
      return {
        height: view.getUint16(at + 5),
        width: view.getUint16(at + 7),
        components: view.getUint8(at + 9),
      };
    }
    at += 2 + view.getUint16(at + 2);
  }
  return { width: 0, height: 0, components: 0 };
}

/** A WebP's canvas, or its one image (https://developers.google.com/speed/webp/docs/riff_container). */
function readWebpSize(bytes: Uint8Array, view: DataView): { width: number; height: number } {
  const none = { width: 0, height: 0 };
  if (bytes.length < 30) return none;
  const uint24 = (at: number) => view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
  if (startsWith(bytes, "VP8X", 12)) return { width: uint24(24) + 1, height: uint24(27) + 1 };
  if (startsWith(bytes, "VP8L", 12)) {
    const bits = view.getUint32(21, true);
    return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
  }
  if (!startsWith(bytes, "VP8 ", 12)) return none;
  return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
}

/** A chunk of a PNG. */
interface PngChunk {
  type: string;
  /** Where its length begins, and where the next chunk does. */
  start: number;
  end: number;
  data: Uint8Array;
}

/** The chunks of a PNG that are there as a whole. */
function* readPngChunks(bytes: Uint8Array): Generator<PngChunk> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let start = 8; start + 12 <= bytes.length;) {
    const length = view.getUint32(start);
    const end = start + 12 + length;
    if (end > bytes.length) return;
    const type = String.fromCharCode(...bytes.subarray(start + 4, start + 8));
    yield { type, start, end, data: bytes.subarray(start + 8, end - 4) };
    start = end;
  }
}

/** Whether a chunk's checksum is right. */
function isIntact(bytes: Uint8Array, { start, end }: PngChunk): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return crc32(bytes.subarray(start + 4, end - 4)) === view.getUint32(end - 4);
}

/**
 * A PNG with a palette of as many entries as its samples can say. Pillow takes entry i for the gray (i, i, i) where the
 * palette ends before it, and no palette at all likewise; decoders differ in this.
 *
 * @param depth bits of a sample
 * @returns the same bytes where the palette is whole, or damaged
 */
export function completePalette(bytes: Uint8Array, depth: number): Uint8Array {
  const entries = 2 ** depth;
  let [from, to] = [-1, -1];
  let given: Uint8Array = new Uint8Array(0);
  for (const chunk of readPngChunks(bytes)) {
    if (chunk.type === "PLTE") {
      if (chunk.data.length === 3 * entries || !isIntact(bytes, chunk)) return bytes;
      [from, to, given] = [chunk.start, chunk.end, chunk.data];
    } else if (chunk.type !== "IDAT") continue;
    else if (from < 0) [from, to] = [chunk.start, chunk.start];
    break;
  }
  if (from < 0) return bytes;
  const palette = Uint8Array.from({ length: 3 * entries }, (_, i) => Math.floor(i / 3));
  palette.set(given.subarray(0, Math.min(palette.length, given.length - given.length % 3)));
  const whole = new Uint8Array(bytes.length - (to - from) + 12 + palette.length);
  const view = new DataView(whole.buffer);
  whole.set(bytes.subarray(0, from));
  view.setUint32(from, palette.length);
  whole.set([0x50, 0x4c, 0x54, 0x45], from + 4); // PLTE
  whole.set(palette, from + 8);
  const end = from + 12 + palette.length;
  view.setUint32(end - 4, crc32(whole.subarray(from + 4, end - 4)));
  whole.set(bytes.subarray(to), end);
  return whole;
}

/**
 * What of a file is missing or wrong, as far as the structure of a JPEG, PNG or WebP tells; `undefined` where it is whole.
 * For messages: the decoder's own are those of whichever image failed last anywhere in the process.
 */
export function findDamage(bytes: Uint8Array, format: ImageFormat): string | undefined {
  const cut = `it ends after ${bytes.length} bytes`;
  if (format !== "JPEG" && format !== "PNG" && format !== "WebP") return undefined;
  if (format === "JPEG") return hasJpegEnd(bytes) ? undefined : `${cut}, before the end of the image`;
  if (format === "WebP") {
    if (bytes.length < 12) return cut;
    const declared = new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true) + 8;
    return declared > bytes.length ? `${cut} of ${declared}` : undefined;
  }
  let last = "";
  for (const chunk of readPngChunks(bytes)) {
    if (!isIntact(bytes, chunk)) {
      return `the checksum of the chunk ${JSON.stringify(chunk.type)} at byte ${chunk.start} is wrong`;
    }
    last = chunk.type;
    if (last === "IEND") return undefined;
  }
  return `${cut}, before the chunk IEND`;
}

/** Whether a JPEG's segments lead to an end-of-image marker; one inside a thumbnail does not count. */
function hasJpegEnd(bytes: Uint8Array): boolean {
  for (let at = 2; at + 1 < bytes.length;) {
    if (bytes[at] !== 0xff) { // a scan's data, or garbage: the next marker counts
      at = bytes.indexOf(0xff, at);
      if (at < 0) return false;
      continue;
    }
    const marker = bytes[at + 1];
    if (marker === 0xd9) return true;
    if (marker === 0xff) at++;
    // A stuffed byte, TEM and restarts have no length.
    else if (marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd8)) at += 2;
    else at += 2 + Math.max(2, (bytes[at + 2] << 8) | bytes[at + 3]);
  }
  return false;
}

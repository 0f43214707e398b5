/**
 * Encoded images to pixels, by `sharp` (libvips) and `formats/`. The pixels are those that
 * `Image.open(file).convert("RGB")` of Pillow gives, to the last bit: no rotation by EXIF, no colour profile, alpha
 * dropped and not blended, CMYK by Pillow's plain formula, 16-bit colours cut to their high byte, 16-bit gray clipped at
 * 255, a palette's missing entries gray.
 */
import { brokenImage, BrokenImageError } from "./broken_image.ts";
import { withoutPremultiplication } from "./formats/tiff.ts";
import {
  completePalette,
  describeOtherFormat,
  findDamage,
  IMAGE_FORMATS,
  type ImageHeader,
  readImageHeader,
} from "./image_header.ts";
import { PixelBudget } from "./pixel_budget.ts";
import { expandRgb } from "./rgb.ts";
import { loadSharp, type Sharp } from "./sharp.ts";

export { BrokenImageError } from "./broken_image.ts";

/** Pixels of one image. */
export interface Image {
  /** In pixels. */
  width: number;
  /** In pixels. */
  height: number;
  /** RGBA8, row-major, [height, width, 4]; alpha is 255. */
  pixels: Uint8Array<ArrayBuffer>;
}

/** A decoded image that writes its pixels to a given buffer, which saves a copy. */
export interface UnwrittenImage extends Pick<Image, "width" | "height"> {
  /** Writes the pixels as RGBA8, one word each: `width * height` words, laid out as in {@linkcode Image}. */
  writeTo(words: Uint32Array): void;
}

/** Options for `decodeImage`. */
export interface DecodeOptions {
  /** Maximum width x height. A larger image is refused before memory is allocated for it. */
  maxPixels?: number;
  /**
   * A JPEG whose shorter side stays at least as long, in pixels, is made smaller as it is decoded: to a half, a quarter or an
   * eighth of its size. Pixels are other ones then than those of the whole image. Default: its own size.
   */
  leastSide?: number;
}

/** The factors by which JPEGs are made smaller; the decoder does all of each but the last 2. */
const REDUCTIONS = [8, 4, 2] as const;

/** What an image's sides are divided by as it is decoded: 1 for what keeps its size. */
function reductionOf(
  { format, width, height }: Pick<ImageHeader, "format" | "width" | "height">,
  { leastSide = Infinity }: Pick<DecodeOptions, "leastSide">,
): number {
  if (format !== "JPEG") return 1;
  const shorter = Math.min(width, height);
  return REDUCTIONS.find((factor) => Math.floor(shorter / factor) >= leastSide) ?? 1;
}

/** Width and height of an image when it has been decoded, in pixels. */
export function decodedSize(
  header: Pick<ImageHeader, "format" | "width" | "height">,
  options: Pick<DecodeOptions, "leastSide">,
): Pick<Image, "width" | "height"> {
  const factor = reductionOf(header, options);
  return { width: Math.floor(header.width / factor), height: Math.floor(header.height / factor) };
}

/** 134 million pixels, half a gibibyte as RGBA8. */
export const DEFAULT_MAX_PIXELS: number = 2 ** 27;

/** Of all images that this Worker decodes at a time; the largest that is taken by default is decoded alone. */
const pixelsUnderWay = new PixelBudget(DEFAULT_MAX_PIXELS);

/** Pixels along a side, as in a JPEG; only a PNG could have more. */
const MAX_SIDE = 65535;

/**
 * Decodes a JPEG, PNG, WebP, GIF, BMP, TIFF or PPM file: the first frame of an animation, the first of several
 * images.
 *
 * @param bytes contents of the file
 * @throws BrokenImageError if the file has another format, is truncated or damaged, or has more than `maxPixels`
 *   pixels
 */
export async function decodeImage(bytes: Uint8Array, options: DecodeOptions = {}): Promise<Image> {
  const { width, height, writeTo } = await decodeUnwritten(bytes, options);
  const words = new Uint32Array(width * height);
  writeTo(words);
  return { width, height, pixels: new Uint8Array(words.buffer) };
}

/**
 * Decodes like {@linkcode decodeImage}, but lets the caller write the pixels to their destination, as `packImages`
 * does.
 */
export async function decodeUnwritten(
  bytes: Uint8Array,
  options: DecodeOptions = {},
): Promise<UnwrittenImage> {
  const { maxPixels = DEFAULT_MAX_PIXELS } = options;
  const header = readImageHeader(bytes);
  if (header === undefined) {
    throw new BrokenImageError(`expected ${IMAGE_FORMATS}, found ${describeOtherFormat(bytes)}`);
  }
  const { format, components, depth, colourType, parsed, tiff, problem } = header;
  if (problem !== undefined) throw problem;
  refuseLarge(header, maxPixels);
  if (parsed !== undefined) {
    const { width, height } = parsed;
    const pixels = await pixelsUnderWay.run(width * height, () => parsed.decode());
    return { width, height, writeTo: (words) => words.set(pixels) };
  }
  const kind = tiff?.kind ??
    (components === 4 ? "cmyk" : depth === 16 && colourType === 0 ? "gray16" : "other");
  const whole = colourType === 3 && depth! <= 8
    ? completePalette(bytes, depth!)
    : tiff?.kind === "premultiplied"
    ? withoutPremultiplication(bytes, tiff)
    : bytes;
  const sharp = await loadSharp();
  const size = reductionOf(header, options) === 1 ? undefined : decodedSize(header, options);
  const decode = () => decodeRaw(sharp, whole, kind, { maxPixels, isTurned: tiff?.isTurned, size });
  // A header that does not say where it should how large it is may have any size.
  const decoded = await pixelsUnderWay.run(header.width * header.height || maxPixels, decode).catch(() => {
    const damage = findDamage(bytes, format);
    if (damage !== undefined) throw brokenImage(damage);
    // libvips has one buffer of errors for all, which any image that is decoded meanwhile empties or fills.
    return pixelsUnderWay.alone(decode).catch((error) => {
      throw brokenImage(/unknown error/i.test(error.message) ? "" : firstLine(error));
    });
  });
  const { data, info: { width, height, channels } } = decoded;
  refuseLarge({ width, height }, maxPixels);
  return { width, height, writeTo: (words) => writeRgba(words, data, channels, kind) };
}

/** Raw pixels, [height, width, channels]. */
interface RawImage {
  data: Uint8Array;
  info: { width: number; height: number; channels: number };
}

/**
 * Decodes by libvips; throws what it throws.
 *
 * @param size of the pixels, where that is not the image's own
 */
async function decodeRaw(
  sharp: Sharp,
  bytes: Uint8Array,
  kind: Kind,
  { maxPixels, isTurned = false, size }: {
    maxPixels: number;
    isTurned?: boolean;
    size?: Pick<Image, "width" | "height">;
  },
): Promise<RawImage> {
  let image = sharp(bytes, {
    // "truncated" would let PNGs with wrong checksums through; "warning" refuses JPEGs that Pillow reads.
    failOn: "error",
    ignoreIcc: true,
    limitInputPixels: maxPixels,
  });
  // Pillow turns a TIFF as its tag says, and nothing else.
  if (isTurned) image = image.autoOrient();
  // sharp lets libjpeg do half of such a division, that by 4 or by 2, as it transforms blocks, and resamples by the 2 that is left.
  if (size !== undefined) image = image.resize({ ...size, fit: "fill", kernel: "linear" });
  if (kind === "cmyk") image = image.pipelineColourspace("cmyk").toColourspace("cmyk");
  if (kind === "gray16") image = image.toColourspace("grey16");
  return await image.raw({ depth: kind === "gray16" ? "ushort" : "uchar" }).toBuffer({
    resolveWithObject: true,
  });
}

function refuseLarge({ width, height }: { width: number; height: number }, maxPixels: number): void {
  if (width * height > maxPixels) {
    throw new BrokenImageError(
      `expected an image of at most ${maxPixels} pixels, found ${width} x ${height} = ${width * height}`,
    );
  }
  if (Math.max(width, height) > MAX_SIDE) {
    throw new BrokenImageError(
      `expected an image of at most ${MAX_SIDE} pixels a side, found ${width} x ${height}`,
    );
  }
}

/** libvips repeats itself over several lines; the first one tells. */
function firstLine(error: Error): string {
  return error.message.split("\n", 1)[0].trim();
}

/** What Pillow's conversion to RGB depends on. */
type Kind = "cmyk" | "gray16" | "premultiplied" | "other";

/** Turns sharp's raw output, [pixels, channels], into RGBA8. */
function writeRgba(pixels: Uint32Array, data: Uint8Array, channels: number, kind: Kind): void {
  const count = pixels.length;
  const opaque = 0xff000000;
  if (kind === "cmyk") {
    for (let i = 0, at = 0; i < count; i++, at += 4) {
      const white = 255 - data[at + 3];
      pixels[i] = lessInk(white, data[at]) | (lessInk(white, data[at + 1]) << 8) |
        (lessInk(white, data[at + 2]) << 16) | opaque;
    }
  } else if (kind === "gray16") {
    // Little-endian uint16.
    for (let i = 0, at = 0; i < count; i++, at += 2 * channels) {
      pixels[i] = ((data[at + 1] > 0 ? 255 : data[at]) * 0x010101) | opaque;
    }
  } else if (kind === "premultiplied") {
    const [red, green, blue] = [0, 1, 2];
    for (let i = 0, at = 0; i < count; i++, at += 4) {
      const alpha = data[at + 3];
      const part = (channel: number) =>
        alpha === 0 ? 0 : Math.min(255, Math.floor(data[at + channel] * 255 / alpha));
      pixels[i] = part(red) | (part(green) << 8) | (part(blue) << 16) | opaque;
    }
  } else if (channels < 3) {
    for (let i = 0, at = 0; i < count; i++, at += channels) pixels[i] = (data[at] * 0x010101) | opaque;
  } else if (channels === 3) {
    expandRgb(pixels, data);
  } else {
    for (let i = 0, at = 0; i < count; i++, at += channels) {
      pixels[i] = data[at] | (data[at + 1] << 8) | (data[at + 2] << 16) | opaque;
    }
  }
}

/** `white * (1 - ink / 255)`, rounded as Pillow's `cmyk2rgb` does. */
function lessInk(white: number, ink: number): number {
  const product = ink * white + 128;
  return Math.max(0, white - (((product >> 8) + product) >> 8));
}

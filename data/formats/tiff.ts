/**
 * The header of a TIFF's first image. libvips decodes the pixels; the kinds that are taken are those that come out as
 * Pillow gives them.
 *
 * Source: TIFF 6.0; Pillow, `TiffImagePlugin.py`.
 */
import { brokenImage, BrokenImageError, cutImage } from "../broken_image.ts";
import { readHeader } from "./parsed_image.ts";

/** Facts of an image that decide how it becomes RGB. */
export interface TiffHeader {
  /** In pixels, as it is shown. */
  width: number;
  /** In pixels, as it is shown. */
  height: number;
  kind: "cmyk" | "gray16" | "premultiplied" | "other";
  /** From where to where the file says what its further samples are. */
  extraAt: readonly [number, number];
  /** Whether it is stored turned or mirrored. */
  isTurned: boolean;
}

/** Numbers of tags; more of them say nothing about pixels. */
const TAGS = {
  width: 256,
  height: 257,
  bits: 258,
  compression: 259,
  photometric: 262,
  fillOrder: 266,
  stripOffsets: 273,
  orientation: 274,
  samples: 277,
  rowsPerStrip: 278,
  stripSizes: 279,
  planar: 284,
  colours: 320,
  tileWidth: 322,
  tileHeight: 323,
  tileOffsets: 324,
  tileSizes: 325,
  extraSamples: 338,
  sampleFormat: 339,
} as const;

type Tag = keyof typeof TAGS;
const NAMES: ReadonlyMap<number, Tag> = new Map(
  Object.entries(TAGS).map(([name, number]) => [number, name as Tag]),
);

const COMPRESSIONS: Readonly<Record<number, string>> = {
  1: "none",
  2: "CCITT RLE",
  3: "CCITT fax 3",
  4: "CCITT fax 4",
  5: "LZW",
  7: "JPEG",
  8: "deflate",
  32773: "PackBits",
  32946: "deflate",
};
const COLOURS: Readonly<Record<number, string>> = {
  0: "gray with 0 as white",
  1: "gray",
  2: "RGB",
  3: "a palette",
  5: "CMYK",
  6: "YCbCr",
  8: "CIELAB",
};
const SAMPLE_FORMATS: Readonly<Record<number, string>> = { 2: "signed ", 3: "floating-point " };

/** What is taken: colour, bits of a sample, samples, and what those beyond the colour are. */
const KINDS: readonly {
  colour: readonly number[];
  bits: readonly number[];
  samples: number;
  extra: readonly string[];
}[] = [
  { colour: [0, 1], bits: [1, 2, 4, 8], samples: 1, extra: [""] },
  { colour: [1], bits: [16], samples: 1, extra: [""] },
  { colour: [1], bits: [8], samples: 2, extra: ["2"] },
  { colour: [2], bits: [8, 16], samples: 3, extra: [""] },
  { colour: [2], bits: [8, 16], samples: 4, extra: ["", "0", "1", "2"] },
  { colour: [3], bits: [1, 2, 4, 8], samples: 1, extra: [""] },
  { colour: [5], bits: [8], samples: 4, extra: [""] },
  { colour: [6], bits: [8], samples: 3, extra: [""] },
];

/** Of a tile that is much larger than its image, which takes memory all the same. */
const MAX_TILE_PIXELS = 2 ** 24;

/** Whether a file begins as a TIFF or BigTIFF. */
export function isTiff([first, second, third, fourth]: Uint8Array): boolean {
  if (first !== second || (first !== 0x49 && first !== 0x4d)) return false;
  const [low, high] = first === 0x49 ? [third, fourth] : [fourth, third];
  return high === 0 && (low === 42 || low === 43);
}

/**
 * Reads the header of the first image.
 *
 * @throws BrokenImageError where it is damaged, or of a kind that is not taken
 */
export function parseTiff(bytes: Uint8Array): TiffHeader {
  const { values, places } = readHeader(bytes, readDirectory);
  const one = (name: Tag, otherwise: number) => values[name]?.[0] ?? otherwise;
  const [width, height] = [one("width", 0), one("height", 0)];
  if (width === 0 || height === 0) throw brokenImage(`it has ${width} x ${height} pixels`);
  const colour = one("photometric", 0);
  const compression = one("compression", 1);
  const samples = one("samples", 1);
  const extra = values.extraSamples ?? [];
  const bits = values.bits ?? [1];
  const format = values.sampleFormat ?? [1];
  const isPlanar = samples > 1 && one("planar", 1) === 2;
  const isPlain = new Set(bits).size === 1 && format.every((value) => value === 1) &&
    one("fillOrder", 1) === 1 && (bits.length === samples || bits.length === 1) &&
    KINDS.some((kind) =>
      kind.colour.includes(colour) && kind.bits.includes(bits[0]) && kind.samples === samples &&
      kind.extra.includes(extra.join())
    );
  // libvips and Pillow agree on YCbCr where libjpeg makes RGB of it.
  const isCompressionTaken = compression in COMPRESSIONS && (colour !== 6 || compression === 7 && !isPlanar);
  // Of planes of their own, Pillow misreads some, and libvips reads no tiles.
  const isLayoutTaken = !isPlanar ||
    values.tileOffsets === undefined && samples >= 3 && extra[0] !== 1 &&
      (bits[0] === 8 || compression !== 1);
  if (!isPlain || !isCompressionTaken || !isLayoutTaken) {
    const formats = new Set(format.map((value) => SAMPLE_FORMATS[value] ?? ""));
    const facts = [
      `${samples} ${[...formats].join("or ")}${samples === 1 ? "sample" : "samples"} of ${
        [...new Set(bits)].join(" or ")
      } bits`,
      COLOURS[colour] ?? `colour space ${colour}`,
      ...extra.length > 0 ? [`extra samples of kind ${extra.join(", ")}`] : [],
      `compression ${COMPRESSIONS[compression] ?? compression}`,
      ...isPlanar ? [`separate planes${values.tileOffsets === undefined ? "" : " in tiles"}`] : [],
      ...one("fillOrder", 1) === 1 ? [] : ["reversed bit order"],
    ];
    throw new BrokenImageError(
      "expected a TIFF image of 1 to 16 bits per sample (gray, RGB, palette or CMYK), found one of " +
        `${facts.join(", ")}; convert it to PNG`,
    );
  }
  refuseMissing(bytes, values, [width, height], isPlanar ? samples : 1);
  const colours = values.colours ?? [];
  if (colour === 3 && colours.length !== 3 * 2 ** bits[0]) {
    throw brokenImage(`expected a palette of ${3 * 2 ** bits[0]} values, found ${colours.length}`);
  }
  if (colour === 3 && colours.every((value) => value < 256)) {
    throw new BrokenImageError(
      "expected a TIFF image with a palette of 16 bits per value, found one whose values are all below 256, which " +
        "Pillow reads as black; convert it to PNG",
    );
  }
  const orientation = one("orientation", 1);
  const isOnItsSide = orientation >= 5 && orientation <= 8;
  return {
    width: isOnItsSide ? height : width,
    height: isOnItsSide ? width : height,
    kind: colour === 5
      ? "cmyk"
      : colour === 1 && bits[0] === 16
      ? "gray16"
      : extra[0] === 1
      ? "premultiplied"
      : "other",
    extraAt: places.extraSamples ?? [0, 0],
    isTurned: orientation >= 2 && orientation <= 8,
  };
}

/** Values of tags, and where in the file they lie. */
interface Directory {
  values: Partial<Record<Tag, number[]>>;
  places: Partial<Record<Tag, [number, number]>>;
}

/** Refuses files whose strips or tiles are not all there: libvips takes zeros for a tile that is missing. */
function refuseMissing(
  bytes: Uint8Array,
  values: Directory["values"],
  [width, height]: readonly [number, number],
  planes: number,
): void {
  const isTiled = values.tileOffsets !== undefined;
  const [offsets = [], sizes = []] = isTiled
    ? [values.tileOffsets, values.tileSizes]
    : [values.stripOffsets, values.stripSizes];
  const [columns, rows] = isTiled
    ? [values.tileWidth?.[0] ?? 0, values.tileHeight?.[0] ?? 0]
    : [width, Math.min(height, values.rowsPerStrip?.[0] ?? height)];
  if (isTiled && columns * rows > MAX_TILE_PIXELS) {
    throw brokenImage(`it has tiles of ${columns} x ${rows} pixels`);
  }
  const parts = Math.ceil(width / columns) * Math.ceil(height / rows) * planes;
  if (offsets.length !== parts || sizes.length !== parts) {
    throw brokenImage(
      `expected ${parts} ${
        isTiled ? "tiles" : "strips"
      }, found ${offsets.length} offsets and ${sizes.length} sizes`,
    );
  }
  if (offsets.some((offset, i) => offset + sizes[i] > bytes.length)) throw cutImage(bytes);
}

/**
 * A TIFF whose fourth sample is said to mean nothing, so that libvips leaves the other three alone: it divides them by
 * alpha with another rounding than Pillow.
 */
export function withoutPremultiplication(bytes: Uint8Array, { extraAt }: TiffHeader): Uint8Array {
  const changed = bytes.slice();
  changed.fill(0, ...extraAt);
  return changed;
}

/** Bytes of a value, by its type: byte, short, long, and BigTIFF's long. */
const TYPES: Readonly<Record<number, number>> = { 1: 1, 3: 2, 4: 4, 16: 8 };

/** Reads the tags that are known. */
function readDirectory(view: DataView): Directory {
  const isLittle = view.getUint8(0) === 0x49;
  const isBig = view.getUint16(2, isLittle) === 43;
  const readLong = (at: number) =>
    isBig ? Number(view.getBigUint64(at, isLittle)) : view.getUint32(at, isLittle);
  const word = isBig ? 8 : 4;
  const start = readLong(isBig ? 8 : 4);
  const count = isBig ? readLong(start) : view.getUint16(start, isLittle);
  const values: Directory["values"] = {};
  const places: Directory["places"] = {};
  for (let i = 0; i < count; i++) {
    const at = start + (isBig ? 8 : 2) + i * (4 + 2 * word);
    const tag = view.getUint16(at, isLittle);
    const size = TYPES[view.getUint16(at + 2, isLittle)];
    const known = NAMES.get(tag);
    if (known === undefined) continue;
    if (values[known] !== undefined) throw brokenImage(`it has the tag ${tag} twice`);
    const length = readLong(at + 4);
    const data = length * size <= word ? at + 4 + word : readLong(at + 4 + word);
    if (size === undefined || length === 0 || !(data + length * size <= view.byteLength)) {
      throw cutImage(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
    }
    const read = (at: number) =>
      size === 1
        ? view.getUint8(at)
        : size === 2
        ? view.getUint16(at, isLittle)
        : size === 4
        ? view.getUint32(at, isLittle)
        : Number(view.getBigUint64(at, isLittle));
    places[known] = [data, data + length * size];
    values[known] = Array.from({ length }, (_, i) => read(data + size * i));
  }
  return { values, places };
}

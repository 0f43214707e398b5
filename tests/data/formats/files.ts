/** Files of GIF, BMP, PPM and TIFF, built byte by byte, of many kinds. */
import { deflateSync } from "node:zlib";

const latin1 = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** Joins bytes and text. */
export function join(...parts: (string | ArrayLike<number>)[]): Uint8Array {
  return Uint8Array.from(
    parts.flatMap((part) => Array.from(typeof part === "string" ? latin1(part) : part)),
  );
}

/** Unsigned integers of so many bytes each. */
function integers(size: 1 | 2 | 4 | 8, values: readonly number[], isLittle = true): Uint8Array {
  const bytes = new Uint8Array(size * values.length);
  for (const [i, value] of values.entries()) {
    for (let j = 0; j < size; j++) {
      bytes[i * size + (isLittle ? j : size - 1 - j)] = Math.floor(value / 2 ** (8 * j)) % 256;
    }
  }
  return bytes;
}

const u16 = (...values: number[]) => integers(2, values);
const u32 = (...values: number[]) => integers(4, values);

/** Numbers that look random, from 0 to `below - 1`. */
export function noise(count: number, below = 256): number[] {
  let state = 1;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % below;
  });
}

/** Packs samples of 1, 2, 4 or 8 bits, each row from a byte on. */
export function packBits(samples: readonly number[], perRow: number, bits: number, multiple = 1): number[] {
  const bytes: number[] = [];
  for (let start = 0; start < samples.length; start += perRow) {
    const row = samples.slice(start, start + perRow);
    const rowBytes = new Array(Math.ceil(Math.ceil(perRow * bits / 8) / multiple) * multiple).fill(0);
    for (const [i, sample] of row.entries()) {
      rowBytes[Math.floor(i * bits / 8)] |= sample << (8 - bits - (i * bits) % 8);
    }
    bytes.push(...rowBytes);
  }
  return bytes;
}

/** What a GIF is built of. */
export interface GifParts {
  /** In pixels: the screen's width and height. */
  screen?: [number, number];
  /** Left, top, width and height. */
  frame?: [number, number, number, number];
  /** Bits of an index. */
  bits?: number;
  indices?: readonly number[];
  /** Colours; `null` for none. */
  global?: readonly number[] | null;
  local?: readonly number[];
  transparent?: number;
  isInterlaced?: boolean;
  /** Of LZW codes; else one clear code, and then strings as an encoder finds them. */
  neverCompress?: boolean;
  /** What stands before and behind the frame. */
  before?: Uint8Array;
  after?: Uint8Array;
}

/** A GIF of one frame. */
export function gif(parts: GifParts = {}): Uint8Array {
  const { frame = [0, 0, 7, 5], bits = 3, before = [], after = [0x3b] } = parts;
  const [, , width, height] = frame;
  const { screen = [width, height], indices = noise(width * height, 2 ** bits), transparent } = parts;
  const table = (colours?: readonly number[] | null) =>
    !colours ? 0 : 0x80 | (Math.log2(colours.length / 3) - 1);
  const rows = parts.isInterlaced
    ? [[0, 8], [4, 8], [2, 4], [1, 2]].flatMap(([first, step]) =>
      Array.from({ length: Math.max(0, Math.ceil((height - first) / step)) }, (_, i) => first + i * step)
    )
    : Array.from({ length: height }, (_, i) => i);
  const ordered = rows.flatMap((y) => indices.slice(y * width, (y + 1) * width));
  const data = lzw(ordered, bits, parts.neverCompress);
  const blocks: number[] = [];
  for (let at = 0; at < data.length; at += 255) {
    const block = data.slice(at, at + 255);
    blocks.push(block.length, ...block);
  }
  const { global = parts.local ? undefined : noise(3 * 2 ** bits) } = parts;
  return join(
    "GIF89a",
    u16(...screen),
    [table(global), 1, 0],
    global ?? [],
    transparent === undefined ? [] : [0x21, 0xf9, 4, 1, 0, 0, transparent, 0],
    before,
    [0x2c],
    u16(...frame),
    [table(parts.local) | (parts.isInterlaced ? 0x40 : 0)],
    parts.local ?? [],
    [bits],
    blocks,
    [0],
    after,
  );
}

/** LZW codes of indices, with the table that grows to 4,096 strings. */
function lzw(indices: readonly number[], bits: number, neverCompress = false): number[] {
  const bytes: number[] = [];
  let [buffer, buffered] = [0, 0];
  let size = bits + 1;
  const write = (code: number) => {
    buffer |= code << buffered;
    for (buffered += size; buffered >= 8; buffered -= 8, buffer >>>= 8) bytes.push(buffer & 255);
  };
  const clear = 1 << bits;
  let strings = new Map<string, number>();
  let next = 0;
  const reset = () => {
    write(clear);
    strings = new Map(Array.from({ length: clear }, (_, i) => [String(i), i]));
    next = clear + 2;
    size = bits + 1;
  };
  reset();
  let string = "";
  for (const index of indices) {
    const longer = string === "" ? String(index) : `${string},${index}`;
    if (strings.has(longer)) {
      string = longer;
      continue;
    }
    write(strings.get(string)!);
    if (next === 4096 || neverCompress) reset();
    else {
      // The decoder is one string behind.
      if (next === 1 << size && size < 12) size++;
      strings.set(longer, next++);
    }
    string = String(index);
  }
  write(strings.get(string)!);
  if (next === 1 << size && size < 12) size++;
  write(clear + 1);
  if (buffered > 0) bytes.push(buffer & 255);
  return bytes;
}

/** What a BMP is built of. */
export interface BmpParts {
  width?: number;
  height?: number;
  bits: number;
  headerSize?: number;
  compression?: number;
  palette?: readonly number[];
  /** How many colours the header says; 0 for all. */
  entries?: number;
  masks?: readonly number[];
  isTopDown?: boolean;
  /** Bytes between the header and the pixels. */
  gap?: number;
  data?: ArrayLike<number>;
  /** Where the header says that the pixels lie. */
  start?: number;
}

/** A BMP; its palette in words of four bytes, or three with OS/2's header. */
export function bmp(parts: BmpParts): Uint8Array {
  const { width = 7, height = 5, bits, headerSize = 40, compression = parts.masks ? 3 : 0, gap = 0 } = parts;
  const isOld = headerSize === 12;
  const stride = Math.ceil(width * bits / 32) * 4;
  const data = parts.data ??
    (bits <= 8 ? packBits(noise(width * height, 2 ** bits), width, bits, 4) : noise(stride * height));
  const palette = bits > 8 ? [] : parts.palette ?? noise((isOld ? 3 : 4) * 2 ** bits);
  const rest = new Uint8Array(Math.max(0, headerSize - 40));
  if (parts.masks && headerSize > 40) rest.set(u32(...parts.masks));
  const header = isOld ? join(u32(12), u16(width, height, 1, bits)) : join(
    u32(headerSize, width, parts.isTopDown ? 2 ** 32 - height : height),
    u16(1, bits),
    u32(compression, data.length, 2835, 2835, parts.entries ?? 0, 0),
    rest,
  );
  const masks = parts.masks && headerSize === 40 ? u32(...parts.masks.slice(0, 3)) : [];
  const start = parts.start ?? 14 + header.length + masks.length + palette.length + gap;
  const size = 14 + header.length + masks.length + palette.length + gap + data.length;
  return join("BM", u32(size, 0, start), header, masks, palette, new Uint8Array(gap), data);
}

/** What a TIFF is built of. */
export interface TiffParts {
  width?: number;
  height?: number;
  bits: number;
  samples?: number;
  photometric: number;
  extra?: readonly number[];
  isBigEndian?: boolean;
  /** BigTIFF, with offsets of 8 bytes. */
  isBig?: boolean;
  /** Each sample in a strip of its own. */
  isPlanar?: boolean;
  isDeflated?: boolean;
  rowsPerStrip?: number;
  /** Width and height of a tile. */
  tile?: [number, number];
  colours?: readonly number[];
  orientation?: number;
  /** Further tags: [number, type, values]; type 3 is of 2 bytes, 4 of 4. */
  tags?: readonly (readonly [number, number, readonly number[]])[];
  values?: readonly number[];
}

/** A TIFF of one image. */
export function tiff(parts: TiffParts): Uint8Array {
  const { width = 7, height = 5, bits, samples = 1, photometric, isBig = false, orientation, extra = [] } =
    parts;
  const isLittle = !parts.isBigEndian;
  const values = parts.values ?? noise(width * height * samples, 2 ** bits);
  const encode = (samples: readonly number[], perRow: number): Uint8Array =>
    bits === 16 ? integers(2, samples, isLittle) : Uint8Array.from(packBits(samples, perRow, bits));
  const pieces: Uint8Array[] = [];
  const { rowsPerStrip = height, tile } = parts;
  const planes = parts.isPlanar
    ? Array.from({ length: samples }, (_, s) => values.filter((_, i) => i % samples === s))
    : [values];
  const perPixel = parts.isPlanar ? 1 : samples;
  for (const plane of planes) {
    const [columns, rows] = tile ?? [width, rowsPerStrip];
    for (let top = 0; top < height; top += rows) {
      for (let left = 0; left < width; left += columns) {
        const piece: number[] = [];
        for (let y = top; y < (tile ? top + rows : Math.min(height, top + rows)); y++) {
          for (let i = left * perPixel; i < (left + columns) * perPixel; i++) {
            piece.push(y < height && i < width * perPixel ? plane[y * width * perPixel + i] : 0);
          }
        }
        const encoded = encode(piece, columns * perPixel);
        pieces.push(parts.isDeflated ? deflateSync(encoded) : encoded);
      }
    }
  }
  const tags: [number, number, readonly number[]][] = [
    [256, 4, [width]],
    [257, 4, [height]],
    [258, 3, new Array(samples).fill(bits)],
    [259, 3, [parts.isDeflated ? 8 : 1]],
    [262, 3, [photometric]],
    [277, 3, [samples]],
    [284, 3, [parts.isPlanar ? 2 : 1]],
    ...tile
      ? [[322, 3, [tile[0]]], [323, 3, [tile[1]]]] as [number, number, number[]][]
      : [[278, 4, [rowsPerStrip]]] as [number, number, number[]][],
    ...parts.colours ? [[320, 3, parts.colours] as [number, number, number[]]] : [],
    ...extra.length > 0 ? [[338, 3, extra] as [number, number, number[]]] : [],
    ...orientation ? [[274, 3, [orientation]] as [number, number, number[]]] : [],
  ];
  const word = isBig ? 8 : 4;
  const head = isBig ? 16 : 8;
  let at = head;
  const offsets = pieces.map((piece) =>
    (at += piece.length + piece.length % 2) - piece.length - piece.length % 2
  );
  tags.push([tile ? 324 : 273, 4, offsets], [tile ? 325 : 279, 4, pieces.map((piece) => piece.length)]);
  for (const [number, type, values] of parts.tags ?? []) {
    const at = tags.findIndex(([known]) => known === number);
    tags.splice(at < 0 ? tags.length : at, at < 0 ? 0 : 1, [number, type, values]);
  }
  tags.sort(([a], [b]) => a - b);
  const long: Uint8Array[] = [];
  const entries = tags.map(([number, type, values]) => {
    const data = integers(type === 3 ? 2 : 4, values, isLittle);
    const inside = new Uint8Array(word);
    if (data.length <= word) inside.set(data);
    else {
      inside.set(integers(isBig ? 8 : 4, [at], isLittle));
      long.push(join(data, new Uint8Array(data.length % 2)));
      at += data.length + data.length % 2;
    }
    return join(
      integers(2, [number, type], isLittle),
      integers(isBig ? 8 : 4, [values.length], isLittle),
      inside,
    );
  });
  return join(
    isLittle ? "II" : "MM",
    isBig ? integers(2, [43, 8, 0], isLittle) : integers(2, [42], isLittle),
    integers(isBig ? 8 : 4, [at], isLittle),
    ...pieces.map((piece) => join(piece, new Uint8Array(piece.length % 2))),
    ...long,
    integers(isBig ? 8 : 2, [tags.length], isLittle),
    ...entries,
    new Uint8Array(word),
  );
}

const GRAYS = (count: number, bytes: number) =>
  Array.from({ length: count * bytes }, (_, i) => bytes === 4 && i % 4 === 3 ? 0 : Math.floor(i / bytes));

/** Files of many kinds, by a name that says which. All of them are decoded. */
export function filesOfManyKinds(): Record<string, Uint8Array> {
  const files: Record<string, Uint8Array> = {};
  // GIF.
  for (const bits of [2, 3, 5, 8]) files[`gif ${bits} bits`] = gif({ bits });
  files["gif large"] = gif({ bits: 8, frame: [0, 0, 131, 97] });
  files["gif long strings"] = gif({
    bits: 4,
    frame: [0, 0, 301, 211],
    indices: Array.from({ length: 301 * 211 }, (_, i) => Math.floor(i / 5000) % 16),
  });
  files["gif not compressed"] = gif({ bits: 7, frame: [0, 0, 31, 17], neverCompress: true });
  for (const height of [1, 2, 3, 5, 8, 9, 23]) {
    files[`gif interlaced ${height}`] = gif({ frame: [0, 0, 7, height], isInterlaced: true });
  }
  files["gif transparent"] = gif({ transparent: 2 });
  files["gif transparent 0"] = gif({ transparent: 0 });
  files["gif inside its screen"] = gif({ screen: [13, 11], frame: [3, 2, 7, 5] });
  files["gif inside its screen, transparent"] = gif({
    screen: [13, 11],
    frame: [3, 2, 7, 5],
    transparent: 3,
  });
  files["gif beyond its screen"] = gif({ screen: [5, 4], frame: [3, 2, 7, 5] });
  files["gif without a screen"] = gif({ screen: [0, 0], frame: [1, 0, 7, 5], isInterlaced: true });
  files["gif local palette"] = gif({ local: noise(24) });
  files["gif both palettes"] = gif({ global: noise(48), local: noise(24).reverse() });
  files["gif short palette"] = gif({ bits: 5, global: noise(12) });
  files["gif short palette, transparent beyond"] = gif({
    bits: 5,
    global: noise(12),
    transparent: 30,
    screen: [9, 9],
  });
  files["gif no palette"] = gif({ bits: 6, global: null });
  files["gif gray palette"] = gif({ global: GRAYS(8, 3), transparent: 3 });
  files["gif gray local palette alone"] = gif({ local: GRAYS(8, 3) });
  files["gif extensions"] = gif({
    before: join([0x21, 0xfe, 3], "abc", [2], "de", [0, 0x21, 0xff, 11], "NETSCAPE2.0", [3, 1, 0, 0, 0, 0]),
    transparent: 1,
  });
  files["gif junk between blocks"] = gif({ before: join([0, 1, 2]) });
  files["gif two frames"] = gif({ after: gif({ transparent: 1 }).subarray(13 + 24) });
  files["gif no trailer"] = gif({ after: new Uint8Array(0) });
  // BMP.
  for (const headerSize of [12, 40, 64, 108, 124]) {
    for (const bits of [1, 4, 8, 24]) {
      for (const width of [1, 7, 8, 9]) {
        files[`bmp header ${headerSize}, ${bits} bits, width ${width}`] = bmp({ headerSize, bits, width });
      }
    }
  }
  for (const bits of [1, 4, 8, 16, 24, 32]) {
    files[`bmp top-down, ${bits} bits`] = bmp({ bits, isTopDown: true });
    files[`bmp gap, ${bits} bits`] = bmp({ bits, gap: 10 });
  }
  files["bmp 16 bits"] = bmp({ bits: 16, width: 301, height: 220 });
  files["bmp 16 bits, 565"] = bmp({ bits: 16, width: 301, height: 220, masks: [0xf800, 0x7e0, 0x1f] });
  files["bmp 16 bits, 555"] = bmp({ bits: 16, masks: [0x7c00, 0x3e0, 0x1f], headerSize: 108 });
  files["bmp 32 bits, BGRX"] = bmp({ bits: 32, masks: [0xff0000, 0xff00, 0xff, 0] });
  files["bmp 32 bits, BGRA"] = bmp({
    bits: 32,
    masks: [0xff0000, 0xff00, 0xff, 0xff000000],
    headerSize: 124,
  });
  files["bmp 32 bits, XBGR"] = bmp({ bits: 32, masks: [0xff000000, 0xff0000, 0xff00, 0], headerSize: 108 });
  files["bmp 32 bits, RGBA"] = bmp({
    bits: 32,
    masks: [0xff, 0xff00, 0xff0000, 0xff000000],
    headerSize: 108,
  });
  files["bmp 32 bits, no masks"] = bmp({ bits: 32, masks: [0, 0, 0, 0], headerSize: 108 });
  files["bmp 24 bits, masks"] = bmp({ bits: 24, masks: [0xff0000, 0xff00, 0xff], headerSize: 108 });
  files["bmp 1 bit, black and white"] = bmp({ bits: 1, palette: [0, 0, 0, 0, 255, 255, 255, 0] });
  files["bmp 1 bit, white and black"] = bmp({ bits: 1, palette: [255, 255, 255, 0, 0, 0, 0, 0] });
  files["bmp 8 bits, gray"] = bmp({ bits: 8, palette: GRAYS(256, 4) });
  files["bmp 8 bits, short palette"] = bmp({ bits: 8, palette: noise(40), entries: 10 });
  files["bmp 4 bits, short palette"] = bmp({ bits: 4, palette: noise(20), entries: 5 });
  files["bmp 8 bits, start at the palette"] = bmp({ bits: 8, start: 54 });
  files["bmp 8 bits, no start"] = bmp({ bits: 8, start: 0 });
  const rle8 = [
    3,
    9,
    2,
    200,
    0,
    0,
    0,
    3,
    1,
    2,
    3,
    0,
    4,
    7,
    0,
    0,
    9,
    5,
    0,
    0,
    0,
    0,
    3,
    4,
    0,
    0,
    7,
    11,
    0,
    0,
    7,
    12,
    0,
    1,
  ];
  const rle4 = [3, 0x9a, 2, 0x20, 0, 0, 0, 4, 0x12, 0x34, 3, 7, 0, 0, 9, 5, 0, 0, 3, 0x40, 0, 0, 7, 0xbc];
  files["bmp run lengths, 8 bits"] = bmp({ bits: 8, compression: 1, data: rle8 });
  files["bmp run lengths, 8 bits, odd start"] = bmp({
    bits: 8,
    compression: 1,
    data: [7, 9, 0, 0, 0, 4, 1, 2, 3, 4, 3, 5, 0, 0, 0, 3, 1, 2, 3, 4, 4, 0, 0, 7, 2, 0, 0, 7, 3],
    gap: 1,
  });
  files["bmp run lengths, 8 bits, top-down"] = bmp({ bits: 8, compression: 1, data: rle8, isTopDown: true });
  files["bmp run lengths, 8 bits, gray"] = bmp({
    bits: 8,
    compression: 1,
    data: rle8,
    palette: GRAYS(256, 4),
  });
  files["bmp run lengths, 4 bits"] = bmp({ bits: 4, compression: 2, data: rle4 });
  files["bmp run lengths, 4 bits, grays"] = bmp({
    bits: 4,
    compression: 2,
    data: rle4,
    palette: GRAYS(16, 4),
  });
  // PBM, PGM, PPM.
  const text = (values: readonly number[], width = 7) =>
    values.map((value, i) => value + (i % width === width - 1 ? "\n" : " ")).join("");
  for (const maximum of [1, 2, 3, 7, 51, 100, 254, 255, 256, 1000, 1023, 4095, 32767, 65534, 65535]) {
    for (const [plain, channels] of [[2, 1], [3, 3]]) {
      const values = noise(35 * channels, maximum + 1);
      files[`ppm P${plain}, maximum ${maximum}`] = join(`P${plain}\n7 5\n${maximum}\n`, text(values));
      files[`ppm P${plain + 3}, maximum ${maximum}`] = join(
        `P${plain + 3} 7 5 ${maximum}\n`,
        integers(maximum > 255 ? 2 : 1, values, false),
      );
      // All that fit into a byte, or a step apart.
      const step = maximum > 255 ? Math.floor(maximum / 255) : 1;
      files[`ppm P${plain + 3}, all up to ${maximum}`] = join(
        `P${plain + 3} 256 ${channels} ${maximum}\n`,
        integers(
          maximum > 255 ? 2 : 1,
          Array.from({ length: 256 * channels * channels }, (_, i) => (i % 256) * step),
          false,
        ),
      );
    }
  }
  files["ppm P1"] = join("P1\n7 5\n", text(noise(35, 2)));
  files["ppm P1 without spaces"] = join("P1\n7 5\n", noise(35, 2).join(""), "\n");
  files["ppm P4"] = join("P4\n7 5\n", packBits(noise(35, 2), 7, 1));
  files["ppm P4 wide"] = join("P4 19 3 ", packBits(noise(57, 2), 19, 1));
  files["ppm comments"] = join("P5 # a\n#b\r7 # c 9\n5#d\n\n255\n", noise(35));
  files["ppm plain comments"] = join("P3\n2 1\n255\n1 2 # 9 9\n3 4\r5 #x\r6 #\n");
  files["ppm P1 comments"] = join("P1 2 2\n0 1#0\n1\n#1\n0\n");
  files["ppm comment in a number"] = join("P2 2 1 255\n1#x\n2 3 ");
  files["ppm two images"] = join("P6 1 1 255\nabcP6 1 1 255\ndef");
  // TIFF.
  const colours = (bits: number) => noise(3 * 2 ** bits, 65536);
  for (const isBigEndian of [false, true]) {
    for (const isDeflated of [false, true]) {
      const name = (kind: string) =>
        `tiff ${isBigEndian ? "MM" : "II"}${isDeflated ? " deflate" : ""} ${kind}`;
      const add = (kind: string, parts: TiffParts) => {
        files[name(kind)] = tiff({ ...parts, isBigEndian, isDeflated });
      };
      for (const bits of [1, 2, 4, 8]) {
        for (const photometric of [0, 1]) {
          add(`gray ${bits} bits, photometric ${photometric}`, { bits, photometric });
        }
        add(`palette ${bits} bits`, { bits, photometric: 3, colours: colours(bits) });
      }
      add("gray 16 bits", { bits: 16, photometric: 1 });
      add("gray 16 bits small", { bits: 16, photometric: 1, values: noise(35, 400) });
      for (const bits of [8, 16]) {
        add(`RGB ${bits} bits`, { bits, samples: 3, photometric: 2 });
        for (const extra of [0, 1, 2]) {
          add(`RGB ${bits} bits, extra ${extra}`, { bits, samples: 4, photometric: 2, extra: [extra] });
        }
      }
      add("RGB, premultiplied, large", {
        bits: 8,
        samples: 4,
        photometric: 2,
        extra: [1],
        width: 256,
        height: 256,
      });
      add("LA", { bits: 8, samples: 2, photometric: 1, extra: [2] });
      add("CMYK", { bits: 8, samples: 4, photometric: 5 });
      add("planar", { bits: 8, samples: 3, photometric: 2, isPlanar: true });
      add("gray 16 bits, more rows in a strip", { bits: 16, photometric: 1, tags: [[278, 4, [64]]] });
      add("1 bit, more rows in a strip", { bits: 1, photometric: 1, tags: [[278, 4, [2 ** 32 - 1]]] });
      add("RGBA without extra samples", { bits: 8, samples: 4, photometric: 2 });
      add("strips", { bits: 8, samples: 3, photometric: 2, rowsPerStrip: 2 });
      add("tiles", { bits: 8, samples: 3, photometric: 2, tile: [16, 16], width: 40, height: 37 });
      add("tiles gray", { bits: 8, photometric: 1, tile: [16, 16], width: 40, height: 37 });
      add("tiles 16 bits", { bits: 16, photometric: 1, tile: [16, 16], width: 40, height: 37 });
      add("BigTIFF", { bits: 8, samples: 3, photometric: 2, isBig: true });
      for (let orientation = 1; orientation <= 8; orientation++) {
        add(`orientation ${orientation}`, { bits: 8, samples: 3, photometric: 2, orientation });
      }
      add("CMYK, orientation 6", { bits: 8, samples: 4, photometric: 5, orientation: 6 });
      add("gray 16 bits, orientation 5", { bits: 16, photometric: 1, orientation: 5 });
      add("palette, orientation 8", { bits: 4, photometric: 3, colours: colours(4), orientation: 8 });
    }
  }
  return files;
}

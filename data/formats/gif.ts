/**
 * GIF: its first frame, as Pillow gives it. Decoders differ in what GIFs leave open, which is why this one is here: a
 * transparent pixel has the colour of its index, what the frame does not cover the transparent index or else index 0, an
 * index beyond the palette its own gray, and a frame that reaches beyond the screen makes the image larger.
 *
 * Source: GIF89a specification (https://www.w3.org/Graphics/GIF/spec-gif89a.txt); Pillow, `GifImagePlugin.py`.
 */
import { brokenImage, BrokenImageError, cutImage } from "../broken_image.ts";
import { completeColours, pack, type ParsedImage, readHeader } from "./parsed_image.ts";

/** The rows of an interlaced frame come in four passes: [first row, step]. */
const PASSES = [[0, 8], [4, 8], [2, 4], [1, 2]];

/** Reads everything before the first frame's pixels. */
export function parseGif(bytes: Uint8Array): ParsedImage {
  return readHeader(bytes, (view) => {
    let at = 13;
    const readColours = (flags: number) => {
      const entries = 2 << (flags & 7);
      const start = at;
      at += 3 * entries;
      if (at > bytes.length) throw cutImage(bytes);
      return completeColours(entries, (i) => {
        const [red, green, blue] = bytes.subarray(start + 3 * i, start + 3 * i + 3);
        return pack(red, green, blue);
      });
    };
    const screen = { width: view.getUint16(6, true), height: view.getUint16(8, true) };
    const screenFlags = view.getUint8(10);
    let colours = screenFlags & 0x80 ? readColours(screenFlags) : completeColours(0, () => 0);
    let background = 0;
    for (;;) {
      const label = view.getUint8(at++);
      if (label === 0x3b) throw brokenImage("it has no frame");
      if (label === 0x2c) break;
      if (label !== 0x21) continue; // bytes between blocks
      // A graphic control extension names the transparent index.
      const extension = view.getUint8(at++);
      if (extension === 0xf9) {
        if (view.getUint8(at) < 4) throw brokenImage("its graphic control extension is shorter than 4 bytes");
        if (view.getUint8(at + 1) & 1) background = view.getUint8(at + 4);
      }
      for (let length; (length = view.getUint8(at++)) > 0;) at += length;
    }
    const [left, top, columns, rows] = [0, 2, 4, 6].map((i) => view.getUint16(at + i, true));
    const flags = view.getUint8(at + 8);
    at += 9;
    if (flags & 0x80) {
      const local = readColours(flags);
      if (screenFlags & 0x80 && isGrayRamp(local) && !isGrayRamp(colours)) {
        throw new BrokenImageError(
          "expected a GIF image with a colour table, found one whose local table is a gray ramp, which Pillow reads " +
            "with the global table; convert it to PNG",
        );
      }
      colours = local;
    }
    const bits = view.getUint8(at++);
    if (bits > 8) throw brokenImage(`it has indices of ${bits} bits`);
    if (columns === 0 || rows === 0) throw brokenImage(`its frame has ${columns} x ${rows} pixels`);
    const width = Math.max(screen.width, left + columns);
    const height = Math.max(screen.height, top + rows);
    const decode = () => {
      const indices = decodeLzw(bytes, at, bits, columns * rows);
      const words = new Uint32Array(width * height).fill(colours[background]);
      let from = 0;
      for (const [first, step] of flags & 0x40 ? PASSES : [[0, 1]]) {
        for (let y = first; y < rows; y += step) {
          let to = (top + y) * width + left;
          for (const end = to + columns; to < end;) words[to++] = colours[indices[from++]];
        }
      }
      return words;
    };
    return { width, height, decode };
  });
}

function isGrayRamp(colours: Uint32Array): boolean {
  return colours.every((colour, i) => colour === pack(i, i, i));
}

/**
 * Decodes the variable-length LZW codes of a frame.
 *
 * @param at where the frame's blocks of bytes begin
 * @param bits of an index
 * @param count how many indices to decode
 */
function decodeLzw(bytes: Uint8Array, at: number, bits: number, count: number): Uint8Array {
  const clear = 1 << bits;
  // A code from `clear + 2` on stands for the string of its prefix, a code too, and one more index.
  const prefixes = new Uint16Array(4096);
  const lasts = new Uint8Array(4096);
  const lengths = new Uint16Array(4096).fill(1);
  const indices = new Uint8Array(count);
  let next = clear + 2;
  let size = bits + 1;
  let before = -1;
  let first = 0;
  let blockEnd = at;
  let buffer = 0;
  let buffered = 0;
  for (let done = 0; done < count;) {
    while (buffered < size) {
      if (at === blockEnd) {
        blockEnd = at + 1 + bytes[at++];
        if (!(blockEnd <= bytes.length)) throw cutImage(bytes);
        if (at === blockEnd) throw brokenImage(`its data end after ${done} of ${count} pixels`);
      }
      buffer |= bytes[at++] << buffered;
      buffered += 8;
    }
    const code = buffer & ((1 << size) - 1);
    buffer >>>= size;
    buffered -= size;
    if (code === clear) {
      next = clear + 2;
      size = bits + 1;
      before = -1;
      continue;
    }
    if (code === clear + 1) throw brokenImage(`its data end after ${done} of ${count} pixels`);
    if (code > (before < 0 ? clear : next)) throw brokenImage("its data contain an undefined code");
    // A code that is about to be defined stands for the string before and the first index of that.
    const isNew = before >= 0 && code === next;
    let string = isNew ? before : code;
    const length = lengths[string];
    let to = done + length;
    if (isNew && to < count) indices[to] = first;
    for (; string > clear; string = prefixes[string]) {
      if (--to < count) indices[to] = lasts[string];
    }
    first = string;
    indices[done] = first;
    if (before >= 0 && next < 4096) {
      lasts[next] = first;
      prefixes[next] = before;
      lengths[next] = lengths[before] + 1;
      if (next === (1 << size) - 1 && size < 12) size++;
      next++;
    }
    before = code;
    done += length + (isNew ? 1 : 0);
  }
  return indices;
}

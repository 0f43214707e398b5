/** Pixels of three bytes, as decoders give and caches keep them, and of four, as GPUs take them. */

const OPAQUE = 0xff000000;

/**
 * Turns RGB8 into RGBA8 with an alpha of 255.
 *
 * @param pixels words of one pixel each: all of them are written
 * @param rgb [pixels, 3]
 */
export function expandRgb(pixels: Uint32Array, rgb: Uint8Array): void {
  const count = pixels.length;
  let i = 0;
  // Three words (little-endian, as everywhere where Deno runs) hold four pixels of three bytes.
  if (rgb.byteOffset % 4 === 0) {
    const words = new Uint32Array(rgb.buffer, rgb.byteOffset, rgb.byteLength >> 2);
    for (let at = 0; i + 4 <= count; i += 4, at += 3) {
      const a = words[at];
      const b = words[at + 1];
      const c = words[at + 2];
      pixels[i] = a | OPAQUE;
      pixels[i + 1] = (a >>> 24) | (b << 8) | OPAQUE;
      pixels[i + 2] = (b >>> 16) | (c << 16) | OPAQUE;
      pixels[i + 3] = (c >>> 8) | OPAQUE;
    }
  }
  for (let at = 3 * i; i < count; i++, at += 3) {
    pixels[i] = rgb[at] | (rgb[at + 1] << 8) | (rgb[at + 2] << 16) | OPAQUE;
  }
}

/**
 * Turns RGBA8 into RGB8: what {@linkcode expandRgb} turns back where alpha is 255.
 *
 * @param rgb [pixels, 3], which is written; it begins at a multiple of four bytes
 * @param pixels words of one pixel each
 */
export function reduceToRgb(rgb: Uint8Array, pixels: Uint32Array): void {
  const count = pixels.length;
  const words = new Uint32Array(rgb.buffer, rgb.byteOffset, rgb.byteLength >> 2);
  let i = 0;
  for (let at = 0; i + 4 <= count; i += 4, at += 3) {
    const b = pixels[i + 1];
    const c = pixels[i + 2];
    words[at] = (pixels[i] & 0xffffff) | (b << 24);
    words[at + 1] = ((b >>> 8) & 0xffff) | (c << 16);
    words[at + 2] = ((c >>> 16) & 0xff) | (pixels[i + 3] << 8);
  }
  for (let at = 3 * i; i < count; i++, at += 3) {
    rgb[at] = pixels[i];
    rgb[at + 1] = pixels[i] >>> 8;
    rgb[at + 2] = pixels[i] >>> 16;
  }
}

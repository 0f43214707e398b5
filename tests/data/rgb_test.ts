import { assertEquals } from "@std/assert";
import { expandRgb, reduceToRgb } from "../../data/rgb.ts";

/** RGB8 that differs in every byte, at an offset in its buffer. */
function makeRgb(pixels: number, offset: number): Uint8Array {
  return new Uint8Array(offset + 3 * pixels).map((_, i) => (7 + 31 * i) & 0xff).subarray(offset);
}

Deno.test("expandRgb() puts an alpha of 255 behind each pixel, and reduceToRgb() takes it away again", () => {
  for (let pixels = 0; pixels < 14; pixels++) {
    for (const offset of [0, 1, 4]) {
      const rgb = makeRgb(pixels, offset);
      const words = new Uint32Array(pixels);
      expandRgb(words, rgb);
      const expected = Array.from({ length: pixels }, (_, i) => [...rgb.subarray(3 * i, 3 * i + 3), 255]);
      assertEquals([...new Uint8Array(words.buffer)], expected.flat(), `${pixels} pixels at ${offset}`);
      const back = new Uint8Array(8 + 3 * pixels).fill(9).subarray(4, 4 + 3 * pixels);
      reduceToRgb(back, words);
      assertEquals(back, rgb);
      assertEquals(
        [...new Uint8Array(back.buffer)].filter((byte, i) => (i < 4 || i >= 4 + 3 * pixels) && byte !== 9),
        [],
      );
    }
  }
});

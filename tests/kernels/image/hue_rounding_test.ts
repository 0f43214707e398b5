import { assertEquals } from "@std/assert";
import { computeHueRounding } from "../../../kernels/image/hue_rounding.ts";

Deno.test("computeHueRounding() predicts the hue of every colour whose hue is a whole number of 255ths", () => {
  const rounding = computeHueRounding();
  const float = Math.fround;
  let checked = 0;
  // Pillow's hue depends on the differences to the largest channel only, so the smallest can be 0.
  for (let max = 1; max < 256; max++) {
    for (let mid = 0; mid <= max; mid++) {
      for (
        const [r, g, b] of [[max, mid, 0], [max, 0, mid], [mid, max, 0], [0, max, mid], [mid, 0, max], [
          0,
          mid,
          max,
        ]]
      ) {
        const [rc, gc, bc] = [r, g, b].map((c) => float((max - c) / max));
        const sixth = r === max ? float(bc - gc) : g === max ? float(2 + rc - bc) : float(4 + gc - rc);
        const hue = Math.trunc(float((sixth / 6 + 1) % 1) * 255);
        const turn = r === max
          ? (g - b + 6 * max) % (6 * max)
          : g === max
          ? 2 * max + b - r
          : 4 * max + r - g;
        const k = Math.floor(85 * turn / (2 * max));
        const isExact = 85 * turn % (2 * max) === 0;
        assertEquals(hue, k - (isExact ? rounding[k >> 5] >>> (k & 31) & 1 : 0), `${r}, ${g}, ${b}`);
        checked++;
      }
    }
  }
  assertEquals(checked, 6 * (255 * 256 / 2 + 255));
});

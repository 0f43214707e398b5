/**
 * Which 8-bit hues Pillow's RGB to HSV conversion makes one too small.
 *
 * The hue of a colour is an exact fraction of integers. Convert.c computes it in float32 with a detour through
 * float64, and truncates `hue * 255`; so the result is the fraction's floor, except that where `hue * 255` is exactly
 * an integer k, rounding on the way can lead to just below k. That depends on k alone.
 *
 * @returns 256 bits as eight words: bit k % 32 of word k / 32 is 1 where k comes out as k - 1
 */
export function computeHueRounding(): Uint32Array<ArrayBuffer> {
  const bits = new Uint32Array(8);
  for (let k = 0; k < 255; k++) {
    if (truncatedHue(k) < k) bits[k >>> 5] |= 1 << (k & 31);
  }
  return bits;
}

/** `rgb2hsv_row` of Convert.c, operation by operation, for a colour whose hue is k / 255. */
function truncatedHue(k: number): number {
  const float = Math.fround;
  const max = 85; // with chroma 85, hue * 6 * chroma is the integer 2k
  const turn = 2 * k;
  const [r, g, b] = colourAt(turn, max);
  const rc = float((max - r) / max);
  const gc = float((max - g) / max);
  const bc = float((max - b) / max);
  let hue: number;
  if (r === max) hue = float(bc - gc);
  else if (g === max) hue = float(2 + rc - bc);
  else hue = float(4 + gc - rc);
  hue = float((hue / 6 + 1) % 1);
  return Math.trunc(hue * 255);
}

/** The saturated colour at `turn / (6 * max)` of the way round the colour wheel. */
function colourAt(turn: number, max: number): [number, number, number] {
  const channel = (offset: number) => {
    const place = (turn + offset * max) % (6 * max);
    return Math.min(Math.max(Math.min(place, 4 * max - place), 0), max);
  };
  return [channel(2), channel(0), channel(4)];
}

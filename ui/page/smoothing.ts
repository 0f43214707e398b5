/** Smooth lines through noisy points. */

/** A point of a line; y is `null` where it was not finite. */
export type Point = readonly [x: number, y: number | null];

/** Sums over the points of a window, of x relative to an origin that moves with the window, so that nothing cancels out. */
class WindowSums {
  #origin = 0;
  #n = 0;
  #x = 0;
  #y = 0;
  #xx = 0;
  #xy = 0;

  /** Adds a point, or takes it out with a sign of -1. */
  add([x, y]: readonly [number, number], sign: 1 | -1): void {
    const dx = x - this.#origin;
    this.#n += sign;
    this.#x += sign * dx;
    this.#y += sign * y;
    this.#xx += sign * dx * dx;
    this.#xy += sign * dx * y;
  }

  /** Height at x of the line through the window's points with the least squares. */
  fitAt(x: number): number {
    const shift = x - this.#origin;
    this.#origin = x;
    this.#xy -= shift * this.#y;
    this.#xx += shift * (this.#n * shift - 2 * this.#x);
    this.#x -= this.#n * shift;
    const spread = this.#n * this.#xx - this.#x * this.#x;
    // All points at one place have no slope.
    return spread > 0 ? (this.#xx * this.#y - this.#x * this.#xy) / spread : this.#y / this.#n;
  }
}

/** Fits a line to `half` points on either side of each one. */
function fitLines(points: readonly (readonly [number, number])[], half: number): [number, number][] {
  const sums = new WindowSums();
  let [from, to] = [0, 0];
  return points.map(([x], i) => {
    while (to < Math.min(points.length, i + half + 1)) sums.add(points[to++], 1);
    while (from < i - half) sums.add(points[from++], -1);
    return [x, sums.fitAt(x)];
  });
}

/**
 * Smooths a line by local linear regression: each point moves to the line that fits the points around it best, twice, which
 * weights near points more. Unlike a moving average it neither lags behind nor bends at the ends: points on a straight line
 * stay where they are.
 *
 * @param points in the order of x
 * @param share of all points that a window takes in, from 0, which leaves the points as they are, to 1
 */
export function smooth(points: readonly Point[], share: number): Point[] {
  const known = points.filter((point): point is readonly [number, number] => point[1] !== null);
  // Two windows, one after the other, reach as far as one of twice the size.
  const half = Math.round(share * known.length / 4);
  if (half < 1) return [...points];
  const fitted = fitLines(fitLines(known, half), half);
  let next = 0;
  return points.map((point) => point[1] === null ? point : fitted[next++]);
}

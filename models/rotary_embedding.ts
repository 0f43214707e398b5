/**
 * Tables of rotary position embedding over a grid of patches, as DINOv3 has it (Siméoni et al. 2025, its `RopePositionEmbedding`):
 * made on the host, once for each image size, and read by `kernels/ops/attention`.
 */

/** Cosines and sines of every token, each [tokens, head width]. */
export interface RotaryTables {
  cos: Float32Array<ArrayBuffer>;
  sin: Float32Array<ArrayBuffer>;
}

/** Entry of the periods in a checkpoint. */
export const PERIODS_KEY = "rope_embed.periods";

/** Period of the slowest angle over that of the fastest, of all released models. */
const BASE = 100;

/**
 * Returns the periods [head width / 4] of the angles, in units of half an image's side: base^(2i / (head width / 2)). A checkpoint
 * may hold its own as {@linkcode PERIODS_KEY}.
 *
 * @param base 100 in all released models
 */
export function ropePeriods(headWidth: number, base = BASE): number[] {
  return Array.from({ length: headWidth / 4 }, (_, i) => base ** (2 * i / (headWidth / 2)));
}

/**
 * Returns the tables for an image of `rows` x `columns` patches, in float64 and rounded once. Coordinates are those of the
 * patches' centres, each axis from -1 to 1 by its own length. The first quarter of a row are the angles of the patch's row, the
 * second those of its column; the second half repeats the first. Tokens before the patches get cosine 1 and sine 0, so that
 * they are not rotated.
 *
 * @param headWidth numbers of a head, a multiple of four
 * @param prefix tokens before the patches: the class token and storage tokens
 * @param periods [headWidth / 4], {@linkcode ropePeriods} by default
 * @throws {RangeError} if the periods are not those of such a head
 */
export function ropeTables(
  headWidth: number,
  [rows, columns]: readonly [rows: number, columns: number],
  prefix: number,
  periods: ArrayLike<number> = ropePeriods(headWidth),
): RotaryTables {
  const quarter = headWidth / 4;
  if (periods.length !== quarter) {
    throw new RangeError(
      `rotary embedding: a head of ${headWidth} numbers needs ${quarter} periods, found ${periods.length}`,
    );
  }
  const tokens = prefix + rows * columns;
  const cos = new Float32Array(tokens * headWidth).fill(1);
  const sin = new Float32Array(tokens * headWidth);
  for (let patch = 0; patch < rows * columns; patch++) {
    const row = 2 * (Math.floor(patch / columns) + 0.5) / rows - 1;
    const column = 2 * (patch % columns + 0.5) / columns - 1;
    for (let i = 0; i < headWidth; i++) {
      const coordinate = i % (2 * quarter) < quarter ? row : column;
      const angle = 2 * Math.PI * coordinate / periods[i % quarter];
      const at = (prefix + patch) * headWidth + i;
      cos[at] = Math.cos(angle);
      sin[at] = Math.sin(angle);
    }
  }
  return { cos, sin };
}

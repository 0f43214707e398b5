/**
 * Tables of position embeddings for vision transformers, in float64 on the host: a class token's position, then one for each patch,
 * row by row.
 *
 * Learned tables are for one size of images, and resized for others as their authors do it: DINO and DINOv2 in
 * `interpolate_pos_encoding()` of `vision_transformer.py`. Each axis is resized by itself, with half-pixel centres.
 */

/** How a learned table is resized. */
export interface PositionResizing {
  /**
   * Whether the kernel is as wide as the distance of two outputs where that is more than one input, as Pillow has it (cubic
   * with a = -0.5, its weights normalised, nothing outside the table). Otherwise it has four taps (a = -0.75), and what lies
   * outside the table is its edge.
   */
  antialias: boolean;
  /** Two outputs are G / (n + offset) inputs apart, for n outputs of G inputs. */
  offset: number;
}

/** DINO's way, and that of DINOv2 without registers. */
export const DINO_RESIZING: PositionResizing = { antialias: false, offset: 0.1 };

/** The way of DINOv2 with registers. */
export const REGISTERS_RESIZING: PositionResizing = { antialias: true, offset: 0 };

/** Patches of an image, down and across. */
export type PatchGrid = readonly [rows: number, columns: number];

/** The cubic convolution kernel (Keys 1981) at a distance of `x` taps. */
function cubic(x: number, a: number): number {
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/** Inputs of one output, and their weights. */
type Taps = readonly (readonly [index: number, weight: number])[];

/** The taps of each of `outputs` along an axis of `inputs`. */
function tapsOf(inputs: number, outputs: number, { antialias, offset }: PositionResizing): Taps[] {
  const step = inputs / (outputs + offset);
  return Array.from({ length: outputs }, (_, i) => {
    const centre = (i + 0.5) * step; // of the output, where input j is from j to j + 1
    return antialias ? wideTaps(inputs, centre, Math.max(step, 1)) : fourTaps(inputs, centre - 0.5);
  });
}

function fourTaps(inputs: number, source: number): Taps {
  const first = Math.floor(source) - 1;
  return Array.from({ length: 4 }, (_, k) => {
    const index = Math.min(Math.max(first + k, 0), inputs - 1);
    return [index, cubic(source - (first + k), -0.75)] as const;
  });
}

function wideTaps(inputs: number, centre: number, stretch: number): Taps {
  const first = Math.max(Math.floor(centre - 2 * stretch + 0.5), 0);
  const end = Math.min(Math.floor(centre + 2 * stretch + 0.5), inputs);
  const weights = Array.from(
    { length: end - first },
    (_, k) => cubic((first + k + 0.5 - centre) / stretch, -0.5),
  );
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight, k) => [first + k, weight / sum] as const);
}

/** Side of the square grid that a table of so many rows is for, one of them the class token's; `undefined` where there is none. */
export function gridOfTable(rows: number): number | undefined {
  const side = Math.sqrt(rows - 1);
  return Number.isInteger(side) && side > 0 ? side : undefined;
}

/**
 * Resizes a learned table.
 *
 * @param table [1 + G * G, width]: the class token's position, then a square of patches'
 * @returns [1 + rows * columns, width]; the class token's position as it is, and all of them where the grid is the table's own
 * @throws {Error} if the table's length fits no square: a bug of who read it
 */
export function resizePositions(
  table: ArrayLike<number>,
  width: number,
  [rows, columns]: PatchGrid,
  resizing: PositionResizing,
): Float64Array<ArrayBuffer> {
  const side = gridOfTable(table.length / width);
  if (side === undefined) {
    throw new Error(`${table.length} numbers are no table of positions of ${width} numbers each`);
  }
  if (rows === side && columns === side) return Float64Array.from(table);
  const [down, across] = [rows, columns].map((count) => tapsOf(side, count, resizing));
  const resized = new Float64Array((1 + rows * columns) * width);
  for (let c = 0; c < width; c++) resized[c] = table[c];
  const between = new Float64Array(side * columns * width); // [side, columns, width]
  for (let row = 0; row < side; row++) {
    for (const [column, taps] of across.entries()) {
      addTaps(between, row * columns + column, table, taps, (tap) => 1 + row * side + tap, width);
    }
  }
  for (const [row, taps] of down.entries()) {
    for (let column = 0; column < columns; column++) {
      addTaps(resized, 1 + row * columns + column, between, taps, (tap) => tap * columns + column, width);
    }
  }
  return resized;
}

/** Adds the weighted positions `from`, at the places that `at` gives, to position `place` of `to`. */
function addTaps(
  to: Float64Array,
  place: number,
  from: ArrayLike<number>,
  taps: Taps,
  at: (tap: number) => number,
  width: number,
): void {
  for (const [tap, weight] of taps) {
    const source = at(tap) * width;
    for (let c = 0; c < width; c++) to[place * width + c] += weight * from[source + c];
  }
}

/** Base of the frequencies (Vaswani et al. 2017, section 3.5). */
const TEMPERATURE = 10_000;

/**
 * MoCo-v3's fixed table (Chen et al. 2021; `build_2d_sincos_position_embedding()` of `vits.py`): zeros for the class token, then of
 * each patch sine and cosine of its row and sine and cosine of its column, at width / 4 frequencies.
 *
 * @param width of a token, a multiple of four
 * @returns [1 + rows * columns, width]
 */
export function sineCosinePositions(width: number, [rows, columns]: PatchGrid): Float64Array<ArrayBuffer> {
  if (width % 4 !== 0) throw new Error(`a width of ${width} is not sine and cosine of rows and of columns`);
  const quarter = width / 4;
  const table = new Float64Array((1 + rows * columns) * width);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const first = (1 + row * columns + column) * width;
      for (let i = 0; i < quarter; i++) {
        const frequency = TEMPERATURE ** (-i / quarter);
        const [y, x] = [row * frequency, column * frequency];
        for (const [part, value] of [Math.sin(y), Math.cos(y), Math.sin(x), Math.cos(x)].entries()) {
          table[first + part * quarter + i] = value;
        }
      }
    }
  }
  return table;
}

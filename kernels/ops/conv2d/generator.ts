/**
 * WGSL of the convolution family, written by program: compilers of software adapters keep a tile in registers only
 * when it is spelled out, so the inner loop is unrolled in the text. Shapes stay uniforms, and so does the way that a
 * workgroup's lanes go, so that one text serves every layer whose invocations compute as many rows and columns: a text
 * takes up to seconds to compile.
 *
 * All three products are implicit: no patch matrix is ever built.
 *
 * | form | rows | columns | sum over |
 * | --- | --- | --- | --- |
 * | forward | output pixels | output channels | taps x input channels |
 * | input gradient | input pixels (by phase of the stride) | input channels | taps x output channels |
 * | weight gradient | input channels, for each tap | output channels | output pixels |
 *
 * This file writes the direct family (operands by `textureLoad` or from storage buffers); `staged_generator.ts` writes the one
 * for GPUs, which stages operands in workgroup memory. On software adapters with subgroups the lanes of a workgroup share the
 * rows of their tile, where all lanes go across columns: each loads every so many of them, and hands these to the others.
 */
import { type Activation, activationWgsl, keepsZero } from "../activation/activation.ts";
import { CHANNEL_MASK, fromLane, range, storage } from "../../wgsl.ts";
import { PARAMS } from "./geometry.ts";
import type { Tile } from "../../tuning/tuning.ts";

/** What happens to a product before it is stored. */
export interface Epilogue {
  bias: boolean;
  addend: boolean;
  activation: Activation | undefined;
}

/** Epilogue that stores the product as it is. */
export const PLAIN: Epilogue = { bias: false, addend: false, activation: undefined };

/** Declares the operands, the epilogue's inputs and functions and the output, at bindings 1 onwards. */
export function declareBindings(names: readonly string[], epilogue: Epilogue): string {
  let binding = 1;
  const buffer = (name: string, access?: "read_write") => storage(binding++, name, access);
  return (epilogue.activation === undefined ? "" : activationWgsl(epilogue.activation) + CHANNEL_MASK) +
    names.map((name) => buffer(name)).join("") +
    (epilogue.bias ? buffer("bias") : "") +
    (epilogue.addend ? buffer("addend") : "") +
    buffer("result", "read_write");
}

/**
 * Statements that apply the epilogue to `value` and store it at `at`, in column vec4 `vec4_index`.
 *
 * @param bias expression of the column's bias, where there is one
 */
export function store(
  epilogue: Epilogue,
  value: string,
  at: string,
  vec4_index: string,
  bias = `bias[${vec4_index}]`,
): string {
  let expression = value;
  if (epilogue.bias) expression = `(${expression} + ${bias})`;
  if (epilogue.addend) expression = `(${expression} + addend[${at}])`;
  if (epilogue.activation !== undefined) expression = `activation(${expression})`;
  if (!keepsZero(epilogue.activation)) {
    expression = `select(vec4<f32>(), ${expression}, is_channel(${vec4_index}, p.out_channels))`;
  }
  return `result[${at}] = ${expression};`;
}

/**
 * WGSL that finds image, row and column of product row `m`: over pixels first, or over the batch first so that the
 * rows of a tile share their pixel, and taps that fall into the padding for all of them are skipped.
 */
export function decodeRow(m: string, height: string, width: string): string {
  return `decode_row(${m}, ${height}, ${width})`;
}

/** How an invocation of the direct family comes by the rows of its tile. */
interface Rows {
  /** Rows of the tile. */
  count: number;
  /** Lanes among which they are shared: each loads every so many of them. One where each loads all. */
  lanes: number;
}

function rowsOf(tile: Tile, isShared: boolean): Rows {
  return { count: tile.rows, lanes: isShared ? tile.lanesAcross : 1 };
}

/** Numbers of the rows that an invocation loads itself. */
function ownRows({ count, lanes }: Rows): number[] {
  return range(count / lanes);
}

/**
 * WGSL statements that find the places `r0`, `r1` ... of the rows that an invocation loads, of a tile whose rows begin at `m0`.
 * Of neighbours the first is found by division, the others from the one before, since integer division is dear. A row past the
 * end has the place of the last.
 */
function decodeRows(rows: Rows, height: string, width: string): string {
  return ownRows(rows).map((i) =>
    rows.lanes > 1
      ? `let r${i} = ${decodeRow(`min(m0 + ${i * rows.lanes}u + lane, row_count - 1u)`, height, width)};`
      : i === 0
      ? `let r0 = ${decodeRow("m0", height, width)};`
      : `let r${i} = next_row(r${i - 1}, m0 + ${i}u < row_count, ${height}, ${width});`
  ).join("\n  ");
}

/** WGSL expression of what the invocation that loads row `i` has under a name. */
function ofRow({ lanes }: Rows, name: string, i: number): string {
  return lanes > 1 ? fromLane(name, i, lanes) : `${name}${i}`;
}

/**
 * Rows whose loads are under way while the products of one are summed, where each lane loads all: a processor's scheduler is filled by
 * products that wait for their row, and the load of the next would begin only behind them.
 */
const ROWS_AHEAD = 4;

/**
 * WGSL statements of one turn of a sum.
 *
 * @param load expression of the operand of the invocation's own row `i`
 * @param multiply statements that take the operand of row `i` from `v{i}`
 */
function sumRows(rows: Rows, load: (i: number) => string, multiply: (i: number) => string): string {
  const all = range(rows.count);
  if (rows.lanes > 1) {
    return [
      ...ownRows(rows).map((i) => `let own${i} = ${load(i)};`),
      ...all.map((i) => `let v${i} = ${ofRow(rows, "own", i)};\n        ${multiply(i)}`),
    ].join("\n        ");
  }
  const loads = all.map((i) => `let v${i} = ${load(i)};`);
  return [
    ...loads.slice(0, ROWS_AHEAD),
    ...all.map((i) => [loads[i + ROWS_AHEAD], multiply(i)].filter(Boolean).join("\n        ")),
  ].join("\n        ");
}

/**
 * WGSL statements that store the results of a tile's rows.
 *
 * @param at expression of the place of the invocation's own row `i`
 * @param store statements that store row `i`, whose place is `at`
 */
function storeRows(rows: Rows, at: (i: number) => string, store: (i: number) => string): string {
  return [
    ...ownRows(rows).map((i) => `let at${i} = ${at(i)};`),
    ...range(rows.count).map((i) =>
      `{
    let at = ${ofRow(rows, "at", i)};
    if (m0 + ${i}u < row_count) {
      ${store(i)}
    }
  }`
    ),
  ].join("\n  ");
}

/** A function behind {@linkcode decodeRows}. */
const NEXT_ROW = `
fn next_row(r: vec3<u32>, is_row: bool, height: u32, width: u32) -> vec3<u32> {
  var image = r.x;
  var y = r.y;
  var x = r.z + 1u;
  if (p.batch_inner != 0u) {
    image = r.x + 1u;
    let is_last = image == p.batch;
    image = select(image, 0u, is_last);
    x = select(r.z, x, is_last);
  }
  let ends_row = x == width;
  x = select(x, 0u, ends_row);
  y = select(y, y + 1u, ends_row);
  let ends_image = y == height;
  y = select(y, 0u, ends_image);
  image = select(image, image + 1u, ends_image);
  return select(r, vec3<u32>(image, y, x), vec3<bool>(is_row));
}
`;

/** The function behind {@linkcode decodeRow}. */
export const DECODE_ROW = `
fn decode_row(m: u32, height: u32, width: u32) -> vec3<u32> { // image, row, column
  let pixels = height * width;
  var image = m / pixels;
  var pixel = m - image * pixels;
  if (p.batch_inner != 0u) {
    pixel = m / p.batch;
    image = m - pixel * p.batch;
  }
  let y = pixel / width;
  return vec3<u32>(image, y, pixel - y * width);
}
`;

/** The functions behind {@linkcode decodeRows}. */
function rowFunctions({ lanes }: Rows): string {
  return lanes > 1 ? DECODE_ROW : DECODE_ROW + NEXT_ROW;
}

// One dimension only: llvmpipe fills the lanes of a vector register from the first, and from no other.
const head = ({ lanesAcross, lanesDown }: Tile) => `
@compute @workgroup_size(${lanesAcross * lanesDown})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let across = p.lanes_across;
  let down = ${lanesAcross * lanesDown}u / across;
  let local = vec2<u32>(lane % across, lane / across);
`;

function accumulators(rows: number, vec4s: number): string {
  return range(rows).map((i) => range(vec4s).map((j) => `var c${i}_${j} = vec4<f32>();`).join(" ")).join(
    "\n",
  );
}

const LANE = ["x", "y", "z", "w"] as const;

/** What a product is written for. */
interface ProductForm {
  /** Whether a tap can fall into the padding. */
  isPadded: boolean;
  /** Whether the lanes of a workgroup share the rows of their tile: they are one subgroup, and all of them go across columns. */
  isShared: boolean;
}

/** What a forward product is written for. */
interface ForwardForm extends ProductForm {
  /**
   * Channels of x, where these fit one vec4 as an image's do. Software adapters carry the accumulators in and out of a loop, which
   * takes longer than one turn of it: with no loop over channels, none that is padding, and no tap skipped, the first layer takes
   * a third of the time.
   */
  thin?: number;
}

/** y = x * w, with an epilogue. Bindings: x, w, [bias], [addend], y. */
export function forwardSource(
  tile: Tile,
  epilogue: Epilogue,
  { isPadded, isShared, thin }: ForwardForm,
): string {
  const rows = rowsOf(tile, isShared);
  const own = ownRows(rows);
  const columns = range(tile.columns / 4);
  const channels = range(thin ?? 4); // of a vec4
  const vec4_index = (j: number) => `n0 + ${j}u * across`;
  return `${PARAMS}${declareBindings(["x", "weight"], epilogue)}${rowFunctions(rows)}${head(tile)}
  let row_count = p.batch * p.out_height * p.out_width;
  let m0 = (group.y * down + local.y) * ${tile.rows}u;
  let n0 = group.x * ${columns.length}u * across + local.x;
  if (m0 >= row_count) { return; }
  let in_channels = p.in_vec4s * 4u;
  ${decodeRows(rows, "p.out_height", "p.out_width")}
  ${
    own.map((i) => `
  let y${i} = i32(r${i}.y * p.stride) - i32(p.pad_top);
  let x${i} = i32(r${i}.z * p.stride) - i32(p.pad_left);`).join("")
  }
  ${accumulators(tile.rows, columns.length)}
  for (var ky = 0u; ky < p.kernel_height; ky++) {
    for (var kx = 0u; kx < p.kernel_width; kx++) {
      ${
    own.map((i) => `
      let iy${i} = u32(y${i} + i32(ky)); // a negative row wraps to a large one
      let ix${i} = u32(x${i} + i32(kx));
      ${
      placeInside(
        i,
        isPadded,
        `iy${i} < p.height && ix${i} < p.width`,
        `((r${i}.x * p.height + iy${i}) * p.width + ix${i}) * p.in_vec4s`,
      )
    }`).join("")
  }
      ${skipPadding(rows, isPadded && thin === undefined)}
      let tap = (ky * p.kernel_width + kx) * in_channels * p.out_vec4s;
      ${thin !== undefined ? "{ let k = 0u;" : "for (var k = 0u; k < p.in_vec4s; k++) {"}
        let b0 = tap + k * 4u * p.out_vec4s + n0;
        ${
    channels.map((q) =>
      columns.map((j) => `let b${q}_${j} = weight[b0 + ${q}u * p.out_vec4s + ${j}u * across];`)
        .join("\n        ")
    ).join("\n        ")
  }
        ${
    sumRows(
      rows,
      (i) => loadInside("x", i, isPadded),
      (i) =>
        columns.map((j) => channels.map((q) => `c${i}_${j} += v${i}.${LANE[q]} * b${q}_${j};`).join(" "))
          .join("\n        "),
    )
  }
      }
    }
  }
  ${columns.map((j) => epilogue.bias ? `let bias${j} = bias[${vec4_index(j)}];` : "").join(" ")}
  ${
    storeRows(
      rows,
      (i) => `((r${i}.x * p.out_height + r${i}.y) * p.out_width + r${i}.z) * p.out_vec4s`,
      (i) =>
        columns.map((j) =>
          `if (${vec4_index(j)} < p.out_vec4s) { ${
            store(epilogue, `c${i}_${j}`, `at + ${vec4_index(j)}`, vec4_index(j), `bias${j}`)
          } }`
        ).join("\n      "),
    )
  }
}
`;
}

/** WGSL: vec4 index `a` of a row's operand, and whether it lies `in` the image where it need not. */
function placeInside(row: number, isPadded: boolean, condition: string, index: string): string {
  if (!isPadded) return `let a${row} = ${index};`;
  return `let in${row} = ${condition};
      let a${row} = select(0u, ${index}, in${row});`;
}

/** WGSL: goes on with the next tap where this one falls into the padding for all rows. */
function skipPadding(rows: Rows, isPadded: boolean): string {
  if (!isPadded) return "";
  const isInside = ownRows(rows).map((i) => `in${i}`).join(" || ");
  return `if (!${rows.lanes > 1 ? "subgroupAny" : ""}(${isInside})) { continue; }`;
}

/** WGSL expression of a row's vec4 k of the operand, zero in the padding. */
function loadInside(name: string, row: number, isPadded: boolean): string {
  const value = `${name}[a${row} + k]`;
  return isPadded ? `select(vec4<f32>(), ${value}, in${row})` : value;
}

/**
 * dx = dy * w transposed, with an epilogue. Bindings: dy, w, [addend], dx.
 *
 * Input pixels are taken by phase of the stride (`group.z`): pixels of one phase meet the same taps, every
 * `stride`-th, so no multiplication is wasted on zeros between strided outputs.
 */
export function inputGradientSource(
  tile: Tile,
  epilogue: Epilogue,
  { isPadded, isShared }: ProductForm,
): string {
  const rows = rowsOf(tile, isShared);
  const columns = range(tile.columns / 4);
  const vec4_index = (j: number) => `n0 + ${j}u * across`;
  return `${PARAMS}${declareBindings(["dy", "weight"], epilogue)}${rowFunctions(rows)}${head(tile)}
  let phase = vec2<u32>(group.z / p.stride, group.z % p.stride);
  let height = (p.height + p.stride - 1u - phase.x) / p.stride; // rows and columns of this phase
  let width = (p.width + p.stride - 1u - phase.y) / p.stride;
  let row_count = p.batch * height * width;
  let m0 = (group.y * down + local.y) * ${tile.rows}u;
  let n0 = group.x * ${columns.length}u * across + local.x;
  if (m0 >= row_count) { return; }
  let in_channels = p.in_vec4s * 4u;
  let first_y = (phase.x + p.pad_top) % p.stride; // the first tap that this phase meets
  let first_x = (phase.y + p.pad_left) % p.stride;
  let shift_y = (phase.x + p.pad_top) / p.stride; // output row of that tap, relative to the phase's row
  let shift_x = (phase.y + p.pad_left) / p.stride;
  ${decodeRows(rows, "height", "width")}
  ${accumulators(tile.rows, columns.length)}
  for (var ky = first_y; ky < p.kernel_height; ky += p.stride) {
    for (var kx = first_x; kx < p.kernel_width; kx += p.stride) {
      let dy_row = shift_y - ky / p.stride; // wraps below zero; sums below wrap back
      let dx_column = shift_x - kx / p.stride;
      ${
    ownRows(rows).map((i) => `
      let oy${i} = r${i}.y + dy_row;
      let ox${i} = r${i}.z + dx_column;
      ${
      placeInside(
        i,
        isPadded,
        `oy${i} < p.out_height && ox${i} < p.out_width`,
        `((r${i}.x * p.out_height + oy${i}) * p.out_width + ox${i}) * p.out_vec4s`,
      )
    }`).join("")
  }
      ${skipPadding(rows, isPadded)}
      let b0 = ((ky * p.kernel_width + kx) * in_channels + n0 * 4u) * p.out_vec4s;
      for (var k = 0u; k < p.out_vec4s; k++) {
        ${
    columns.map((j) =>
      range(4).map((q) => `let b${j}_${q} = weight[b0 + (${j * 4}u * across + ${q}u) * p.out_vec4s + k];`)
        .join("\n        ")
    ).join("\n        ")
  }
        ${
    sumRows(
      rows,
      (i) => loadInside("dy", i, isPadded),
      (i) =>
        columns.map((j) =>
          `c${i}_${j} += vec4<f32>(${range(4).map((q) => `dot(v${i}, b${j}_${q})`).join(", ")});`
        ).join("\n        "),
    )
  }
      }
    }
  }
  ${
    storeRows(
      rows,
      (i) =>
        `((r${i}.x * p.height + r${i}.y * p.stride + phase.x) * p.width + r${i}.z * p.stride + phase.y) * p.in_vec4s`,
      (i) =>
        columns.map((j) =>
          `if (${vec4_index(j)} < p.in_vec4s) { ${
            store(epilogue, `c${i}_${j}`, `at + ${vec4_index(j)}`, vec4_index(j))
          } }`
        ).join("\n      "),
    )
  }
}
`;
}

/**
 * Pixels that a turn of the weight gradient's loop takes. Software adapters load, blend and store all sums in every turn; with four
 * pixels, what lies between does not fit the processor's first cache any more.
 */
const PIXELS_OF_A_TURN = 2;

/** The fewest pixels whose vec4s, `vec4s` of each, can be shared out among the lanes. */
function pixelsOfSharedTurn(vec4s: number, lanes: number): number {
  let pixels = PIXELS_OF_A_TURN;
  while (vec4s * pixels % lanes !== 0) pixels++;
  return pixels;
}

/** A tile of weight gradients: rows are vec4s of input channels, or taps where an image has no more than a vec4 of them. */
interface WeightTile {
  rows: number[];
  columns: number[];
  /** Pixels that a turn of the loop adds. */
  turn: number[];
  /** The lanes share vec4s of x, each loads these of a turn; none where each loads all. */
  own: number[];
  lanes: number;
}

function weightTileOf(tile: Tile, isShared: boolean): WeightTile {
  const rows = range(tile.rows / 4);
  const lanes = tile.lanesAcross;
  const turn = range(isShared ? pixelsOfSharedTurn(rows.length, lanes) : PIXELS_OF_A_TURN);
  const own = range(isShared ? rows.length * turn.length / lanes : 0);
  return { rows, columns: range(tile.columns / 4), turn, own, lanes };
}

/** WGSL expressions of the pixel of a turn, and of the row of the tile, whose vec4 a lane loads as its `u`-th. */
function placeOfOwn({ rows, lanes }: WeightTile, u: number): { pixel: string; row: string } {
  const place = `(${u * lanes}u + lane)`;
  return { pixel: `${place} / ${rows.length}u`, row: `${place} % ${rows.length}u` };
}

/** WGSL statements that load a turn's pixels of dy, as far as there are pixels. */
function loadTurn({ turn, columns }: WeightTile): string {
  return turn.map((t) => `
      let is_pixel${t} = done + ${t}u < count;
      let dy${t} = select(0u, dy_at + ${t}u * dy_step, is_pixel${t});
      ${columns.map((j) => `let b${t}_${j} = dy[dy${t} + ${j}u * across];`).join("\n      ")}`).join("");
}

/**
 * WGSL statements that add a turn's pixels to the sums.
 *
 * @param load expression of x at pixel `t` of the turn and row `i`
 * @param channels those of a vec4 that there are
 */
function addTurn(
  { rows, columns, turn }: WeightTile,
  load: (t: number, i: number) => string,
  channels = 4,
): string {
  return rows.map((i) =>
    `{
        ${turn.map((t) => `let a${t} = ${load(t, i)};`).join("\n        ")}
        ${
      range(channels).map((q) =>
        columns.map((j) => turn.map((t) => `c${i * 4 + q}_${j} += a${t}.${LANE[q]} * b${t}_${j};`).join(" "))
          .join("\n        ")
      ).join("\n        ")
    }
      }`
  ).join("\n      ");
}

/** x of what the lanes share. */
function ownOf({ rows, lanes }: WeightTile): (t: number, i: number) => string {
  return (t, i) => fromLane("own", t * rows.length + i, lanes);
}

/**
 * WGSL statements that store a tile's sums.
 *
 * @param count expression of the number of rows, in vec4s
 */
function storeWeights({ rows, columns }: WeightTile, count: string): string {
  return rows.map((i) =>
    `if (m0 + ${i}u < ${count}) {
    ${
      range(4).map((q) =>
        `{
      let at = (first_row + (m0 + ${i}u) * 4u + ${q}u) * p.out_vec4s;
      ${
          columns.map((j) => {
            const vec4_index = `n0 + ${j}u * across`;
            return `if (${vec4_index} < p.out_vec4s) { result[at + ${vec4_index}] = c${i * 4 + q}_${j}; }`;
          }).join("\n      ")
        }
    }`
      ).join("\n    ")
    }
  }`
  ).join("\n  ");
}

/**
 * dw = x transposed * dy. Bindings: x, dy, partial sums [splits, kh, kw, cin, cout].
 *
 * `group.z` is tap * splits + split. A split is a range of output rows of all images, whose pixels are the inner loop;
 * or with `batch_inner`, of output pixels, whose images are the inner loop. Pixels that a tap takes from the padding are
 * not visited.
 */
export function weightGradientSource(tile: Tile, isShared: boolean): string {
  const weights = weightTileOf(tile, isShared);
  const { rows, columns, turn, own } = weights;
  return `${PARAMS}${declareBindings(["x", "dy"], PLAIN)}${head(tile)}
  let tap = group.z / p.splits;
  let split = group.z % p.splits;
  let ky = tap / p.kernel_width;
  let kx = tap % p.kernel_width;
  let m0 = (group.y * down + local.y) * ${rows.length}u; // in vec4s of input channels
  let n0 = group.x * ${columns.length}u * across + local.x;
  if (m0 >= p.in_vec4s) { return; }
  let is_batch_inner = p.batch_inner != 0u;
  let outer_count = p.out_height * select(p.batch, p.out_width, is_batch_inner);
  let per_split = (outer_count + p.splits - 1u) / p.splits;
  let last = min((split + 1u) * per_split, outer_count);
  // Output columns whose input column, ox * stride + kx - pad_left, lies inside the image; none where it is narrow.
  let first_column = (max(p.pad_left, kx) - kx + p.stride - 1u) / p.stride;
  let past_column = min(p.out_width, (max(p.width + p.pad_left, kx) - kx + p.stride - 1u) / p.stride);
  let end_column = max(first_column, past_column);
  let x_step = p.in_vec4s * select(p.stride, p.height * p.width, is_batch_inner);
  let dy_step = p.out_vec4s * select(1u, p.out_height * p.out_width, is_batch_inner);
  ${accumulators(tile.rows, columns.length)}
  ${
    own.map((u) => `
  let pixel${u} = ${placeOfOwn(weights, u).pixel};
  let place${u} = pixel${u} * x_step + ${placeOfOwn(weights, u).row};`).join("")
  }
  for (var outer = split * per_split; outer < last; outer++) {
    var image = 0u;
    var oy = 0u;
    var ox = first_column;
    if (is_batch_inner) {
      oy = outer / p.out_width;
      ox = outer - oy * p.out_width;
      if (ox < first_column || ox >= end_column) { continue; }
    } else {
      image = outer / p.out_height;
      oy = outer - image * p.out_height;
    }
    let iy = oy * p.stride + ky - p.pad_top; // wraps when negative
    if (iy >= p.height) { continue; }
    let count = select(end_column - first_column, p.batch, is_batch_inner);
    var x_at = ((image * p.height + iy) * p.width + (ox * p.stride + kx - p.pad_left)) * p.in_vec4s + m0;
    var dy_at = ((image * p.out_height + oy) * p.out_width + ox) * p.out_vec4s + n0;
    for (var done = 0u; done < count; done += ${turn.length}u) {
      ${loadTurn(weights)}
      ${
    isShared
      ? own.map((u) => `
      let is${u} = done + pixel${u} < count;
      let own${u} = select(vec4<f32>(), x[select(0u, x_at + place${u}, is${u})], is${u});`).join("")
      : turn.map((t) => `let x${t} = select(0u, x_at + ${t}u * x_step, is_pixel${t});`).join("\n      ")
  }
      ${
    addTurn(
      weights,
      isShared ? ownOf(weights) : (t, i) => `select(vec4<f32>(), x[x${t} + ${i}u], is_pixel${t})`,
    )
  }
      x_at += ${turn.length}u * x_step;
      dy_at += ${turn.length}u * dy_step;
    }
  }
  let first_row = (split * p.kernel_height * p.kernel_width + tap) * p.in_vec4s * 4u;
  ${storeWeights(weights, "p.in_vec4s")}
}
`;
}

/**
 * The same where x is images, whose channels fit one vec4: rows of the product are taps, which the lanes share. Zeros of the padding
 * are multiplied here, but a tile has rows enough.
 *
 * `group.z` is the split, a range of output rows of all images.
 *
 * @param channels those of x; the weight's others get zeros
 */
export function thinWeightGradientSource(tile: Tile, channels: number): string {
  const weights = weightTileOf(tile, true);
  const { rows, columns, turn, own } = weights;
  return `${PARAMS}${declareBindings(["x", "dy"], PLAIN)}${head(tile)}
  let split = group.z;
  let taps = p.kernel_height * p.kernel_width;
  let m0 = group.y * ${rows.length}u; // in taps
  let n0 = group.x * ${columns.length}u * across + lane;
  if (m0 >= taps) { return; }
  let outer_count = p.out_height * p.batch;
  let per_split = (outer_count + p.splits - 1u) / p.splits;
  let last = min((split + 1u) * per_split, outer_count);
  let count = p.out_width;
  let dy_step = p.out_vec4s;
  ${accumulators(tile.rows, columns.length)}
  ${
    own.map((u) => `
  let pixel${u} = ${placeOfOwn(weights, u).pixel};
  let tap${u} = min(m0 + ${placeOfOwn(weights, u).row}, taps - 1u);
  let ky${u} = tap${u} / p.kernel_width;
  let kx${u} = tap${u} - ky${u} * p.kernel_width;`).join("")
  }
  for (var outer = split * per_split; outer < last; outer++) {
    let image = outer / p.out_height;
    let oy = outer - image * p.out_height;
    var dy_at = outer * p.out_width * p.out_vec4s + n0;
    ${
    own.map((u) => `
    let iy${u} = oy * p.stride + ky${u} - p.pad_top; // wraps when negative, as ix does
    let row${u} = (image * p.height + iy${u}) * p.width;`).join("")
  }
    for (var done = 0u; done < count; done += ${turn.length}u) {
      ${loadTurn(weights)}
      ${
    own.map((u) => `
      let ix${u} = (done + pixel${u}) * p.stride + kx${u} - p.pad_left;
      let is${u} = iy${u} < p.height && ix${u} < p.width && done + pixel${u} < count;
      let own${u} = select(vec4<f32>(), x[select(0u, row${u} + ix${u}, is${u})], is${u});`).join("")
  }
      ${addTurn(weights, ownOf(weights), channels)}
      dy_at += ${turn.length}u * dy_step;
    }
  }
  let first_row = split * taps * 4u;
  ${storeWeights(weights, "taps")}
}
`;
}

/**
 * The convolution family for GPUs: the same three products as `generator.ts`, with the operands of a workgroup staged
 * in workgroup memory, so that each value is loaded once for all of its invocations.
 *
 * A product is summed over one index, whatever it is made of (taps x channels, or pixels), 16 of which make a stage.
 * While a stage is multiplied, the operands of the next are on their way into registers. The sum may be cut into
 * `splits` parts, which `conv2d.ts` adds; the part is the workgroup's place in the third dimension.
 */
import { range } from "../../wgsl.ts";
import { declareBindings, DECODE_ROW, decodeRow, type Epilogue, PLAIN, store } from "./generator.ts";
import { PARAMS } from "./geometry.ts";
import type { ProductKind, Tile } from "../../tuning/tuning.ts";
import { ROW_QUADS, STAGE, STAGE_QUADS, stagedVec4s } from "../../tuning/workgroup_memory.ts";

/** Invocations that run in step on most GPUs. */
const WARP = 32;

const LANE = ["x", "y", "z", "w"] as const;

/** What a workgroup computes. */
interface Block {
  tile: Tile;
  rows: number;
  columnVec4s: number;
  invocations: number;
}

function blockOf(tile: Tile): Block {
  return {
    tile,
    rows: tile.rows * tile.lanesDown,
    columnVec4s: tile.columns / 4 * tile.lanesAcross,
    invocations: tile.lanesAcross * tile.lanesDown,
  };
}

/**
 * The entry point, up to where every invocation knows its place `x`, `y` in the workgroup. Those that run in step lie
 * eight across and four down where that is possible, which makes them read the fewest different operands.
 */
function head({ tile, invocations }: Block): string {
  const across = Math.min(8, tile.lanesAcross);
  const down = WARP / across;
  const [warpsAcross, isTiled] = [tile.lanesAcross / across, tile.lanesDown % down === 0];
  return `
@compute @workgroup_size(${invocations})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  ${
    isTiled
      ? `let x = thread % ${across}u + thread / ${WARP}u % ${warpsAcross}u * ${across}u;
  let y = thread % ${WARP}u / ${across}u + thread / ${WARP * warpsAcross}u * ${down}u;`
      : `let x = thread % ${tile.lanesAcross}u;
  let y = thread / ${tile.lanesAcross}u;`
  }
`;
}

/** One of the vec4s of a stage that an invocation loads. */
interface Item {
  i: number;
  /** WGSL: its number in the stage, known to the compiler but for `thread`. */
  item: string;
  /** Leaves out what lies past the end of the stage. */
  guard(body: string): string;
}

/** The items of a stage, `count` in all, that an invocation loads. */
function itemsOf(count: number, { invocations }: Block): Item[] {
  return range(Math.ceil(count / invocations)).map((i) => {
    const item = i === 0 ? "thread" : `(thread + ${i * invocations}u)`;
    const isWhole = (i + 1) * invocations <= count;
    return { i, item, guard: (body) => isWhole ? body : `if (${item} < ${count}u) { ${body} }` };
  });
}

/** Statements that put items, vec4s of the sum in rows of the product, into workgroup memory. */
function putRows(items: readonly Item[]): string[] {
  return items.map(({ i, item, guard }) =>
    guard(`a_stage[${item} / ${STAGE_QUADS}u * ${ROW_QUADS}u + lane] = a${i};`)
  );
}

function accumulators({ tile }: Block): string {
  return range(tile.rows).map((i) =>
    range(tile.columns / 4).map((j) => `var c${i}_${j} = vec4<f32>();`).join(" ")
  ).join("\n  ");
}

/** What differs between the products. Items of the operands are `a0`, `a1` ... and `b0`, `b1` .... */
interface Stages {
  /** How many of the summed index a stage takes, in the unit of `first` and `last`. */
  step: number;
  aItems: readonly Item[];
  bItems: readonly Item[];
  /** Statements that load the items of the stage that begins at `at`, zeros past the end. */
  load: string;
  /** Statements that put the items into workgroup memory. */
  put: string;
  /** Statements that multiply what is in workgroup memory, the `k`-th of `turns` parts of a stage. */
  multiply(k: string): string;
  turns: number;
}

/** The sum over all stages between `first` and `last`, which are the same for the whole workgroup. */
function sumStages({ step, aItems, bItems, load, put, multiply, turns }: Stages): string {
  const items = [...aItems.map(({ i }) => `a${i}`), ...bItems.map(({ i }) => `b${i}`)];
  return `
  ${items.map((item) => `var ${item} = vec4<f32>();`).join(" ")}
  var at = first;
  let stages = (last - first + ${step - 1}u) / ${step}u;
  ${load}
  for (var stage = 0u; stage < stages; stage++) {
    workgroupBarrier();
    ${put}
    workgroupBarrier();
    at += ${step}u;
    ${load}
    ${range(turns).map((k) => `{${multiply(`${k}u`)}}`).join("\n    ")}
  }`;
}

/** u32 division by what has the inverse `inverse`, for quotients and dividends below 2^20. */
const DIVIDE = `
fn divide(dividend: u32, inverse: f32) -> u32 { return u32((f32(dividend) + 0.5) * inverse); }
`;

/** WGSL: the part of a sum over `total` vec4s that this workgroup adds, as `first` and `last`. */
const partOf = (total: string, split: string) => `
  let per_split = (${total} + ${STAGE_QUADS}u * p.splits - 1u) / (${STAGE_QUADS}u * p.splits) * ${STAGE_QUADS}u;
  let first = min(${split} * per_split, ${total});
  let last = min(first + per_split, ${total});`;

function stageMemory(kind: ProductKind, tile: Tile): string {
  const [a, b] = stagedVec4s(kind, tile);
  return `
var<workgroup> a_stage: array<vec4<f32>, ${a}>;
var<workgroup> b_stage: array<vec4<f32>, ${b}>;
`;
}

/** WGSL that stores the sums of rows and vec4s of columns below `vec4s`; `place` finds where row `m` begins, as `at`. */
function storeRows(
  block: Block,
  rowCount: string,
  vec4s: string,
  place: string,
  epilogue: Epilogue,
): string {
  const { tile } = block;
  return range(tile.rows).map((i) =>
    `{
    let m = m0 + y + ${i * tile.lanesDown}u;
    if (m < ${rowCount}) {
      ${place}
      ${
      range(tile.columns / 4).map((j) => {
        const vec4_index = `n0 + x + ${j * tile.lanesAcross}u`;
        return `if (${vec4_index} < ${vec4s}) { ${
          store(epilogue, `c${i}_${j}`, `at + ${vec4_index}`, vec4_index)
        } }`;
      }).join("\n      ")
    }
    }
  }`
  ).join("\n  ");
}

/**
 * y = x * w, with an epilogue. Bindings: x, w, [bias], [addend], y; where the sum is cut, y is [splits, rows, columns].
 *
 * @param isPointwise whether every row takes one pixel, its own
 */
export function stagedForwardSource(tile: Tile, epilogue: Epilogue, isPointwise: boolean): string {
  const block = blockOf(tile);
  const { rows, columnVec4s } = block;
  const aItems = itemsOf(rows * STAGE_QUADS, block);
  const bItems = itemsOf(columnVec4s * STAGE, block);
  const columns = range(tile.columns / 4);
  return `${PARAMS}${declareBindings(["x_in", "weight"], epilogue)}${DECODE_ROW}${DIVIDE}${
    stageMemory("forward", tile)
  }${head(block)}
  let row_count = p.batch * p.out_height * p.out_width;
  let m0 = group.y * ${rows}u;
  let n0 = group.x * ${columnVec4s}u;
  let total = p.kernel_height * p.kernel_width * p.in_vec4s;
  ${partOf("total", "group.z")}
  let lane = thread % ${STAGE_QUADS}u; // the vec4 that this invocation loads of every stage
  let channels_inverse = 1.0 / f32(p.in_vec4s);
  let width_inverse = 1.0 / f32(p.kernel_width);
  ${
    aItems.map(({ i, item }) =>
      isPointwise
        ? `let origin${i} = min(m0 + ${item} / ${STAGE_QUADS}u, row_count - 1u) * p.in_vec4s;`
        : `let place${i} = ${
          decodeRow(`min(m0 + ${item} / ${STAGE_QUADS}u, row_count - 1u)`, "p.out_height", "p.out_width")
        };
  let y${i} = place${i}.y * p.stride - p.pad_top; // wraps below zero, and then is no row of the image
  let x${i} = place${i}.z * p.stride - p.pad_left;
  let origin${i} = ((place${i}.x * p.height + y${i}) * p.width + x${i}) * p.in_vec4s;`
    ).join("\n  ")
  }
  ${accumulators(block)}
  ${
    sumStages({
      step: STAGE_QUADS,
      aItems,
      bItems,
      load: `{
      let k = at + lane;
      ${
        isPointwise ? "" : `let tap = divide(k, channels_inverse);
      let ky = divide(tap, width_inverse);
      let kx = tap - ky * p.kernel_width;
      let offset = (ky * p.width + kx) * p.in_vec4s + k - tap * p.in_vec4s;`
      }
      ${
        aItems.map(({ i }) =>
          isPointwise
            ? `a${i} = vec4<f32>(); if (k < last) { a${i} = x_in[origin${i} + k]; }`
            : `a${i} = vec4<f32>(); if (k < last && y${i} + ky < p.height && x${i} + kx < p.width) { ` +
              `a${i} = x_in[origin${i} + offset]; }`
        ).join("\n      ")
      }
      ${
        bItems.map(({ i, item }) =>
          `b${i} = vec4<f32>(); ` +
          `if (4u * at + ${item} / ${columnVec4s}u < 4u * last && n0 + ${item} % ${columnVec4s}u < p.out_vec4s) { ` +
          `b${i} = weight[(4u * at + ${item} / ${columnVec4s}u) * p.out_vec4s + n0 + ${item} % ${columnVec4s}u]; }`
        ).join("\n      ")
      }
    }`,
      put: [
        ...putRows(aItems),
        ...bItems.map(({ i, item, guard }) => guard(`b_stage[${item}] = b${i};`)),
      ].join("\n    "),
      turns: STAGE_QUADS,
      multiply: (k) => `
      ${
        range(4).map((q) =>
          columns.map((j) =>
            `let w${q}_${j} = b_stage[(4u * ${k} + ${q}u) * ${columnVec4s}u + x + ${j * tile.lanesAcross}u];`
          ).join(" ")
        ).join("\n      ")
      }
      ${
        range(tile.rows).map((i) =>
          `let v${i} = a_stage[(y + ${i * tile.lanesDown}u) * ${ROW_QUADS}u + ${k}];
      ${
            columns.map((j) => range(4).map((q) => `c${i}_${j} += v${i}.${LANE[q]} * w${q}_${j};`).join(" "))
              .join(" ")
          }`
        ).join("\n      ")
      }`,
    })
  }
  ${
    storeRows(
      block,
      "row_count",
      "p.out_vec4s",
      "let at = (group.z * row_count + m) * p.out_vec4s;",
      epilogue,
    )
  }
}
`;
}

/** WGSL: where the rows of dy begin that the items `a` of a stage are loaded from, as `origin0` and on. */
function inputGradientOrigins(aItems: readonly Item[], isPointwise: boolean): string {
  return aItems.map(({ i, item }) =>
    isPointwise
      ? `let origin${i} = min(m0 + ${item} / ${STAGE_QUADS}u, row_count - 1u) * p.out_vec4s;`
      : `let place${i} = ${
        decodeRow(
          `min(m0 + ${item} / ${STAGE_QUADS}u, max(row_count, 1u) - 1u)`,
          "max(height, 1u)",
          "max(width, 1u)",
        )
      };
  let y${i} = place${i}.y + (phase.x + p.pad_top) / p.stride; // output row of the first tap
  let x${i} = place${i}.z + (phase.y + p.pad_left) / p.stride;
  let origin${i} = ((place${i}.x * p.out_height + y${i}) * p.out_width + x${i}) * p.out_vec4s;`
  ).join("\n  ");
}

/** WGSL: loads the items of dy and of the weights of the stage that begins at `at`. */
function loadInputGradient(aItems: readonly Item[], bItems: readonly Item[], isPointwise: boolean): string {
  return `{
      let k = at + lane;
      ${
    isPointwise ? "let row = 0u; let vec4_index = k;" : `let tap = divide(k, channels_inverse);
      let ty = divide(tap, width_inverse);
      let tx = tap - ty * taps_across;
      let vec4_index = k - tap * p.out_vec4s;
      let offset = vec4_index - (ty * p.out_width + tx) * p.out_vec4s; // wraps below zero; the sum wraps back
      let row = ((first_y + ty * p.stride) * p.kernel_width + first_x + tx * p.stride) * in_channels;`
  }
      ${
    aItems.map(({ i }) =>
      isPointwise
        ? `a${i} = vec4<f32>(); if (k < last) { a${i} = dy[origin${i} + k]; }`
        : `a${i} = vec4<f32>(); if (k < last && y${i} - ty < p.out_height && x${i} - tx < p.out_width) { ` +
          `a${i} = dy[origin${i} + offset]; }`
    ).join("\n      ")
  }
      ${
    bItems.map(({ i, item }) =>
      `b${i} = vec4<f32>(); ` +
      `if (k < last && 4u * n0 + ${item} / ${STAGE_QUADS}u < in_channels) { ` +
      `b${i} = weight[(row + 4u * n0 + ${item} / ${STAGE_QUADS}u) * p.out_vec4s + vec4_index]; }`
    ).join("\n      ")
  }
    }`;
}

/** WGSL: multiplies vec4s of the sum with columns, which lie `stride` apart in workgroup memory. */
function multiplyTransposed(tile: Tile, stride: number, k: string): string {
  const columns = range(tile.columns / 4);
  return `
      ${
    columns.map((j) =>
      range(4).map((q) =>
        `let w${j}_${q} = b_stage[(4u * ${k} + ${q}u) * ${stride}u + x + ${j * tile.lanesAcross}u];`
      ).join(" ")
    ).join("\n      ")
  }
      ${
    range(tile.rows).map((i) =>
      `let v${i} = a_stage[(y + ${i * tile.lanesDown}u) * ${ROW_QUADS}u + ${k}];
      ${
        columns.map((j) =>
          range(4).map((q) =>
            LANE.map((l) => `c${i}_${j}.${LANE[q]} += v${i}.${l} * w${j}_${q}.${l};`).join(" ")
          ).join(" ")
        ).join("\n      ")
      }`
    ).join("\n      ")
  }`;
}

/**
 * dx = dy * w transposed, by phase of the stride, with an epilogue. Bindings: dy, w, [addend], dx; where the sum is cut,
 * dx is [splits, n, h, w, c]. `group.z` is phase * splits + split.
 *
 * @param isPointwise whether every row takes one pixel, its own
 */
export function stagedInputGradientSource(tile: Tile, epilogue: Epilogue, isPointwise: boolean): string {
  const block = blockOf(tile);
  const { rows, columnVec4s } = block;
  const columnItems = columnVec4s * STAGE; // columns x vec4s of the sum
  const aItems = itemsOf(rows * STAGE_QUADS, block);
  const bItems = itemsOf(columnItems, block);
  const stride = columnVec4s + 1; // columns that are put at the same time lie in different banks
  return `${PARAMS}${declareBindings(["dy", "weight"], epilogue)}${DECODE_ROW}${DIVIDE}${
    stageMemory("inputGradient", tile)
  }${head(block)}
  let phase = vec2<u32>(group.z / p.splits / p.stride, group.z / p.splits % p.stride);
  let height = (p.height + p.stride - 1u - phase.x) / p.stride; // rows and columns of this phase
  let width = (p.width + p.stride - 1u - phase.y) / p.stride;
  let row_count = p.batch * height * width;
  let m0 = group.y * ${rows}u;
  let n0 = group.x * ${columnVec4s}u;
  let in_channels = p.in_vec4s * 4u;
  let first_y = (phase.x + p.pad_top) % p.stride; // the first tap that this phase meets
  let first_x = (phase.y + p.pad_left) % p.stride;
  let taps_down = (max(p.kernel_height, first_y) - first_y + p.stride - 1u) / p.stride;
  let taps_across = (max(p.kernel_width, first_x) - first_x + p.stride - 1u) / p.stride;
  let total = taps_down * taps_across * p.out_vec4s;
  ${partOf("total", "(group.z % p.splits)")}
  let lane = thread % ${STAGE_QUADS}u; // the vec4 that this invocation loads of every stage
  let channels_inverse = 1.0 / f32(p.out_vec4s);
  let width_inverse = 1.0 / f32(max(taps_across, 1u));
  ${inputGradientOrigins(aItems, isPointwise)}
  ${accumulators(block)}
  ${
    sumStages({
      step: STAGE_QUADS,
      aItems,
      bItems,
      load: loadInputGradient(aItems, bItems, isPointwise),
      put: [
        ...putRows(aItems),
        ...bItems.map(({ i, item, guard }) =>
          guard(
            `b_stage[(4u * lane + ${item} / ${STAGE_QUADS}u % 4u) * ${stride}u + ${item} / ${STAGE}u] = b${i};`,
          )
        ),
      ].join("\n    "),
      turns: STAGE_QUADS,
      multiply: (k) => multiplyTransposed(tile, stride, k),
    })
  }
  ${
    storeRows(
      block,
      "row_count",
      "p.in_vec4s",
      isPointwise
        ? "let at = (group.z * row_count + m) * p.in_vec4s;"
        : `let place = ${decodeRow("m", "height", "width")};
      let at = (((group.z % p.splits * p.batch + place.x) * p.height + place.y * p.stride + phase.x) * p.width +
        place.z * p.stride + phase.y) * p.in_vec4s;`,
      epilogue,
    )
  }
}
`;
}

/** WGSL: the row, a vec4 of input channels at a tap, that an item of x belongs to. */
const rowOf = (item: string, rowVec4s: number) => `m0 + ${item} % ${rowVec4s}u`;

/** WGSL: the pixel in the stage that an item of x belongs to. */
const pixelOf = (item: string, rowVec4s: number) => `${item} / ${rowVec4s}u`;

/** WGSL: where each item of x begins, and how far it goes from one stage to the next. */
function beginPixels(aItems: readonly Item[], rowVec4s: number): string {
  return `// From one stage to the next, in images, rows and columns.
  let next_image = ${STAGE}u / image;
  let next_row = ${STAGE}u % image / p.out_width;
  let next_column = ${STAGE}u % image % p.out_width;
  ${
    aItems.map(({ i, item }) =>
      `let tap${i} = (${rowOf(item, rowVec4s)}) / p.in_vec4s;
  let ky${i} = tap${i} / p.kernel_width - p.pad_top; // wraps below zero
  let kx${i} = tap${i} % p.kernel_width - p.pad_left;
  let vec4_index${i} = (${rowOf(item, rowVec4s)}) % p.in_vec4s;
  var pixel${i} = first + ${pixelOf(item, rowVec4s)};
  var image${i} = pixel${i} / image;
  var row${i} = pixel${i} % image / p.out_width;
  var column${i} = pixel${i} % image % p.out_width;`
    ).join("\n  ")
  }`;
}

/** WGSL: loads the items of x of the stage that begins at `at`, and goes on to the pixels of the next. */
function loadPixels(aItems: readonly Item[], rowVec4s: number, isPointwise: boolean): string {
  return aItems.map(({ i, item }) =>
    isPointwise
      ? `a${i} = vec4<f32>(); if (at + ${pixelOf(item, rowVec4s)} < last && ${
        rowOf(item, rowVec4s)
      } < row_vec4s) { ` +
        `a${i} = x_in[(at + ${pixelOf(item, rowVec4s)}) * row_vec4s + ${rowOf(item, rowVec4s)}]; }`
      : `{
        let iy = row${i} * p.stride + ky${i};
        let ix = column${i} * p.stride + kx${i};
        a${i} = vec4<f32>();
        if (pixel${i} < last && ${rowOf(item, rowVec4s)} < row_vec4s && iy < p.height && ix < p.width) {
          a${i} = x_in[((image${i} * p.height + iy) * p.width + ix) * p.in_vec4s + vec4_index${i}];
        }
        pixel${i} += ${STAGE}u;
        column${i} += next_column;
        let is_next_row = column${i} >= p.out_width;
        column${i} -= select(0u, p.out_width, is_next_row);
        row${i} += next_row + select(0u, 1u, is_next_row);
        let is_next_image = row${i} >= p.out_height;
        row${i} -= select(0u, p.out_height, is_next_image);
        image${i} += next_image + select(0u, 1u, is_next_image);
      }`
  ).join("\n      ");
}

/** WGSL: stores the sums of the taps and input channels that there are. */
function storeWeightGradient(tile: Tile): string {
  const rows = range(tile.rows / 4);
  const columns = range(tile.columns / 4);
  return rows.map((i) =>
    `{
    let m = m0 + y + ${i * tile.lanesDown}u;
    if (m < row_vec4s) {
      ${
      range(4).map((q) =>
        `{
        let at = ((group.z * row_vec4s + m) * 4u + ${q}u) * p.out_vec4s + n0 + x;
        ${
          columns.map((j) =>
            `if (n0 + x + ${j * tile.lanesAcross}u < p.out_vec4s) { result[at + ${
              j * tile.lanesAcross
            }u] = c${i * 4 + q}_${j}; }`
          ).join("\n        ")
        }
      }`
      ).join("\n      ")
    }
    }
  }`
  ).join("\n  ");
}

/**
 * dw = x transposed * dy, summed over pixels. Its rows are taps x input channels. Bindings: x, dy, partial sums
 * [splits, kh, kw, cin, cout]; `group.z` is the split.
 *
 * @param isPointwise whether every output takes one pixel, its own
 */
export function stagedWeightGradientSource(tile: Tile, isPointwise: boolean): string {
  const block = blockOf(tile);
  const { columnVec4s } = block;
  const rowVec4s = block.rows / 4;
  const aItems = itemsOf(STAGE * rowVec4s, block);
  const bItems = itemsOf(STAGE * columnVec4s, block);
  const rows = range(tile.rows / 4);
  const columns = range(tile.columns / 4);
  return `${PARAMS}${declareBindings(["x_in", "dy"], PLAIN)}${stageMemory("weightGradient", tile)}${
    head(block)
  }
  let m0 = group.y * ${rowVec4s}u; // in vec4s of input channels
  let n0 = group.x * ${columnVec4s}u;
  let row_vec4s = p.kernel_height * p.kernel_width * p.in_vec4s;
  let image = p.out_height * p.out_width;
  let pixels = p.batch * image;
  let per_split = (pixels + ${STAGE}u * p.splits - 1u) / (${STAGE}u * p.splits) * ${STAGE}u;
  let first = min(group.z * per_split, pixels);
  let last = min(first + per_split, pixels);
  ${isPointwise ? "" : beginPixels(aItems, rowVec4s)}
  ${accumulators(block)}
  ${
    sumStages({
      step: STAGE,
      aItems,
      bItems,
      load: `{
      ${loadPixels(aItems, rowVec4s, isPointwise)}
      ${
        bItems.map(({ i, item }) =>
          `b${i} = vec4<f32>(); ` +
          `if (at + ${item} / ${columnVec4s}u < last && n0 + ${item} % ${columnVec4s}u < p.out_vec4s) { ` +
          `b${i} = dy[(at + ${item} / ${columnVec4s}u) * p.out_vec4s + n0 + ${item} % ${columnVec4s}u]; }`
        ).join("\n      ")
      }
    }`,
      put: [
        ...aItems.map(({ i, item, guard }) => guard(`a_stage[${item}] = a${i};`)),
        ...bItems.map(({ i, item, guard }) => guard(`b_stage[${item}] = b${i};`)),
      ].join("\n    "),
      turns: STAGE,
      multiply: (k) => `
      ${
        columns.map((j) => `let w${j} = b_stage[${k} * ${columnVec4s}u + x + ${j * tile.lanesAcross}u];`)
          .join(" ")
      }
      ${
        rows.map((i) =>
          `let v${i} = a_stage[${k} * ${rowVec4s}u + y + ${i * tile.lanesDown}u];
      ${
            range(4).map((q) =>
              columns.map((j) => `c${i * 4 + q}_${j} += v${i}.${LANE[q]} * w${j};`).join(" ")
            ).join(" ")
          }`
        ).join("\n      ")
      }`,
    })
  }
  ${storeWeightGradient(tile)}
}
`;
}

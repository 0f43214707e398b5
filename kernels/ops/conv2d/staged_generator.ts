/**
 * The convolution family for GPUs: the same three products and the same register tiles as `generator.ts`, with the
 * operands of a workgroup staged in workgroup memory, so that each value is loaded once for all of its invocations.
 */
import { range } from "../../wgsl.ts";
import { declareBindings, DECODE_ROW, decodeRow, type Epilogue, PLAIN, store } from "./generator.ts";
import { PARAMS } from "./geometry.ts";
import type { Tile } from "../../tuning/tuning.ts";

/** Quads (vec4) of the summed dimension that a stage holds. */
const STAGE_QUADS = 4;

/** Pixels that a stage of the weight gradient holds. */
const STAGE_PIXELS = 16;

const LANE = ["x", "y", "z", "w"] as const;

interface Block {
  /** Rows, column quads and invocations of a workgroup. */
  rows: number;
  columnQuads: number;
  threads: number;
}

function blockOf(tile: Tile): Block {
  return {
    rows: tile.rows * tile.lanesDown,
    columnQuads: tile.columns / 4 * tile.lanesAcross,
    threads: tile.lanesAcross * tile.lanesDown,
  };
}

const head = (tile: Tile) => `
@compute @workgroup_size(${tile.lanesAcross}, ${tile.lanesDown})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_id) local: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
`;

function accumulators(rows: number, quads: number): string {
  return range(rows).map((i) => range(quads).map((j) => `var c${i}_${j} = vec4<f32>();`).join(" ")).join(
    "\n",
  );
}

/** A loop over `count` items shared by the invocations of a workgroup. */
const share = (count: number | string, block: Block, body: string) => `
        for (var item = thread; item < ${count}u; item += ${block.threads}u) {${body}
        }`;

const workgroupMemory = (block: Block) => `
var<workgroup> a_stage: array<vec4<f32>, ${block.rows * STAGE_QUADS}>; // [rows, quads]
var<workgroup> b_stage: array<vec4<f32>, ${block.columnQuads * 4 * STAGE_QUADS}>; // [quads * 4, column quads]
var<workgroup> places: array<vec3<u32>, ${block.rows}>; // image, row, column of every product row; image may be out of range
`;

/** y = x * w, with an epilogue. Bindings: x, w, [bias], [addend], y. */
export function stagedForwardSource(tile: Tile, epilogue: Epilogue): string {
  const block = blockOf(tile);
  const rows = range(tile.rows);
  const columns = range(tile.columns / 4);
  const quad = (j: number) => `n0 + local.x + ${j * tile.lanesAcross}u`;
  return `${PARAMS}${declareBindings(["x", "weight"], epilogue)}${DECODE_ROW}${workgroupMemory(block)}${
    head(tile)
  }
  let row_count = p.batch * p.out_height * p.out_width;
  let m0 = group.y * ${block.rows}u;
  let n0 = group.x * ${block.columnQuads}u;
  let in_channels = p.in_quads * 4u;
  ${
    share(
      block.rows,
      block,
      `
          let place = ${decodeRow("min(m0 + item, row_count - 1u)", "p.out_height", "p.out_width")};
          places[item] = vec3<u32>(place.x, place.y * p.stride - p.pad_top, place.z * p.stride - p.pad_left);`,
    )
  }
  ${accumulators(tile.rows, columns.length)}
  for (var ky = 0u; ky < p.kernel_height; ky++) {
    for (var kx = 0u; kx < p.kernel_width; kx++) {
      let tap = (ky * p.kernel_width + kx) * in_channels * p.out_quads;
      for (var k0 = 0u; k0 < p.in_quads; k0 += ${STAGE_QUADS}u) {
        workgroupBarrier();
        ${
    share(
      block.rows * STAGE_QUADS,
      block,
      `
          let place = places[item / ${STAGE_QUADS}u];
          let k = k0 + item % ${STAGE_QUADS}u;
          let iy = place.y + ky; // wraps below zero, and then is no row of the picture
          let ix = place.z + kx;
          var value = vec4<f32>();
          if (iy < p.height && ix < p.width && k < p.in_quads) {
            value = x[((place.x * p.height + iy) * p.width + ix) * p.in_quads + k];
          }
          a_stage[item] = value;`,
    )
  }
        ${
    share(
      block.columnQuads * 4 * STAGE_QUADS,
      block,
      `
          let k = k0 * 4u + item / ${block.columnQuads}u;
          let n = n0 + item % ${block.columnQuads}u;
          var value = vec4<f32>();
          if (k < in_channels && n < p.out_quads) { value = weight[tap + k * p.out_quads + n]; }
          b_stage[item] = value;`,
    )
  }
        workgroupBarrier();
        for (var k = 0u; k < min(${STAGE_QUADS}u, p.in_quads - k0); k++) {
          ${
    range(4).map((q) =>
      columns.map((j) =>
        `let b${q}_${j} = b_stage[(k * 4u + ${q}u) * ${block.columnQuads}u + local.x + ${
          j * tile.lanesAcross
        }u];`
      ).join("\n          ")
    ).join("\n          ")
  }
          ${
    rows.map((i) =>
      `{
            let a = a_stage[(local.y * ${tile.rows}u + ${i}u) * ${STAGE_QUADS}u + k];
            ${
        columns.map((j) => range(4).map((q) => `c${i}_${j} += a.${LANE[q]} * b${q}_${j};`).join(" ")).join(
          "\n            ",
        )
      }
          }`
    ).join("\n          ")
  }
        }
      }
    }
  }
  ${
    rows.map((i) =>
      `{
    let m = m0 + local.y * ${tile.rows}u + ${i}u;
    if (m < row_count) {
      let place = ${decodeRow("m", "p.out_height", "p.out_width")};
      let at = ((place.x * p.out_height + place.y) * p.out_width + place.z) * p.out_quads;
      ${
        columns.map((j) =>
          `if (${quad(j)} < p.out_quads) { ${store(epilogue, `c${i}_${j}`, `at + ${quad(j)}`, quad(j))} }`
        ).join("\n      ")
      }
    }
  }`
    ).join("\n  ")
  }
}
`;
}

/** dx = dy * w transposed, by phase of the stride, with an epilogue. Bindings: dy, w, [addend], dx. */
export function stagedInputGradientSource(tile: Tile, epilogue: Epilogue): string {
  const block = blockOf(tile);
  const rows = range(tile.rows);
  const columns = range(tile.columns / 4);
  const quad = (j: number) => `n0 + local.x + ${j * tile.lanesAcross}u`;
  return `${PARAMS}${declareBindings(["dy", "weight"], epilogue)}${DECODE_ROW}${workgroupMemory(block)}${
    head(tile)
  }
  let phase = vec2<u32>(group.z / p.stride, group.z % p.stride);
  let height = (p.height + p.stride - 1u - phase.x) / p.stride; // rows and columns of this phase
  let width = (p.width + p.stride - 1u - phase.y) / p.stride;
  let row_count = p.batch * height * width;
  let m0 = group.y * ${block.rows}u;
  let n0 = group.x * ${block.columnQuads}u;
  let in_channels = p.in_quads * 4u;
  let first_y = (phase.x + p.pad_top) % p.stride; // the first tap that this phase meets
  let first_x = (phase.y + p.pad_left) % p.stride;
  let shift_y = (phase.x + p.pad_top) / p.stride; // output row of that tap, relative to the phase's row
  let shift_x = (phase.y + p.pad_left) / p.stride;
  ${
    share(
      block.rows,
      block,
      `
          places[item] = ${
        decodeRow("min(m0 + item, max(row_count, 1u) - 1u)", "max(height, 1u)", "max(width, 1u)")
      };`,
    )
  }
  ${accumulators(tile.rows, columns.length)}
  for (var ky = first_y; ky < p.kernel_height; ky += p.stride) {
    for (var kx = first_x; kx < p.kernel_width; kx += p.stride) {
      let dy_row = shift_y - ky / p.stride; // wraps below zero; sums below wrap back
      let dx_column = shift_x - kx / p.stride;
      let tap = (ky * p.kernel_width + kx) * in_channels;
      for (var k0 = 0u; k0 < p.out_quads; k0 += ${STAGE_QUADS}u) {
        workgroupBarrier();
        ${
    share(
      block.rows * STAGE_QUADS,
      block,
      `
          let place = places[item / ${STAGE_QUADS}u];
          let k = k0 + item % ${STAGE_QUADS}u;
          let oy = place.y + dy_row;
          let ox = place.z + dx_column;
          var value = vec4<f32>();
          if (oy < p.out_height && ox < p.out_width && k < p.out_quads) {
            value = dy[((place.x * p.out_height + oy) * p.out_width + ox) * p.out_quads + k];
          }
          a_stage[item] = value;`,
    )
  }
        ${
    share(
      block.columnQuads * 4 * STAGE_QUADS,
      block,
      `
          let k = item % ${STAGE_QUADS}u;
          let channel = item / ${STAGE_QUADS}u;
          var value = vec4<f32>();
          if (k0 + k < p.out_quads && n0 * 4u + channel < in_channels) {
            value = weight[(tap + n0 * 4u + channel) * p.out_quads + k0 + k];
          }
          b_stage[(k * 4u + channel % 4u) * ${block.columnQuads}u + channel / 4u] = value;`,
    )
  }
        workgroupBarrier();
        for (var k = 0u; k < min(${STAGE_QUADS}u, p.out_quads - k0); k++) {
          ${
    range(4).map((q) =>
      columns.map((j) =>
        `let b${j}_${q} = b_stage[(k * 4u + ${q}u) * ${block.columnQuads}u + local.x + ${
          j * tile.lanesAcross
        }u];`
      ).join("\n          ")
    ).join("\n          ")
  }
          ${
    rows.map((i) =>
      `{
            let a = a_stage[(local.y * ${tile.rows}u + ${i}u) * ${STAGE_QUADS}u + k];
            ${
        columns.map((j) =>
          `c${i}_${j} += vec4<f32>(${range(4).map((q) => `dot(a, b${j}_${q})`).join(", ")});`
        ).join(
          "\n            ",
        )
      }
          }`
    ).join("\n          ")
  }
        }
      }
    }
  }
  ${
    rows.map((i) =>
      `{
    let m = m0 + local.y * ${tile.rows}u + ${i}u;
    if (m < row_count) {
      let place = ${decodeRow("m", "height", "width")};
      let y = place.y * p.stride + phase.x;
      let at = ((place.x * p.height + y) * p.width + place.z * p.stride + phase.y) * p.in_quads;
      ${
        columns.map((j) =>
          `if (${quad(j)} < p.in_quads) { ${store(epilogue, `c${i}_${j}`, `at + ${quad(j)}`, quad(j))} }`
        ).join("\n      ")
      }
    }
  }`
    ).join("\n  ")
  }
}
`;
}

/** dw = x transposed * dy. Bindings: x, dy, partial sums [splits, kh, kw, cin, cout]; `group.z` as in the direct family. */
export function stagedWeightGradientSource(tile: Tile): string {
  const block = blockOf(tile);
  const rowQuads = block.rows / 4;
  const rows = range(tile.rows / 4);
  const columns = range(tile.columns / 4);
  const quad = (j: number) => `n0 + local.x + ${j * tile.lanesAcross}u`;
  return `${PARAMS}${declareBindings(["x", "dy"], PLAIN)}
var<workgroup> a_stage: array<vec4<f32>, ${STAGE_PIXELS * rowQuads}>; // [pixels, quads of input channels]
var<workgroup> b_stage: array<vec4<f32>, ${
    STAGE_PIXELS * block.columnQuads
  }>; // [pixels, quads of output channels]
${head(tile)}
  let tap = group.z / p.splits;
  let split = group.z % p.splits;
  let ky = tap / p.kernel_width;
  let kx = tap % p.kernel_width;
  let m0 = group.y * ${rowQuads}u; // in quads of input channels
  let n0 = group.x * ${block.columnQuads}u;
  let row_count = p.batch * p.out_height;
  let per_split = (row_count + p.splits - 1u) / p.splits;
  let end = min((split + 1u) * per_split, row_count) * p.out_width;
  ${accumulators(tile.rows, columns.length)}
  for (var pixel0 = split * per_split * p.out_width; pixel0 < end; pixel0 += ${STAGE_PIXELS}u) {
    workgroupBarrier();
    ${
    share(
      STAGE_PIXELS * rowQuads,
      block,
      `
          let pixel = pixel0 + item / ${rowQuads}u;
          let m = m0 + item % ${rowQuads}u;
          let row = pixel / p.out_width;
          let image = row / p.out_height;
          let iy = (row - image * p.out_height) * p.stride + ky - p.pad_top; // wraps when negative
          let ix = (pixel - row * p.out_width) * p.stride + kx - p.pad_left;
          var value = vec4<f32>();
          if (pixel < end && iy < p.height && ix < p.width && m < p.in_quads) {
            value = x[((image * p.height + iy) * p.width + ix) * p.in_quads + m];
          }
          a_stage[item] = value;`,
    )
  }
    ${
    share(
      STAGE_PIXELS * block.columnQuads,
      block,
      `
          let pixel = pixel0 + item / ${block.columnQuads}u;
          let n = n0 + item % ${block.columnQuads}u;
          var value = vec4<f32>();
          if (pixel < end && n < p.out_quads) { value = dy[pixel * p.out_quads + n]; }
          b_stage[item] = value;`,
    )
  }
    workgroupBarrier();
    for (var k = 0u; k < min(${STAGE_PIXELS}u, end - pixel0); k++) {
      ${
    columns.map((j) => `let b${j} = b_stage[k * ${block.columnQuads}u + local.x + ${j * tile.lanesAcross}u];`)
      .join(
        "\n      ",
      )
  }
      ${
    rows.map((i) =>
      `{
        let a = a_stage[k * ${rowQuads}u + local.y * ${rows.length}u + ${i}u];
        ${
        range(4).map((q) => columns.map((j) => `c${i * 4 + q}_${j} += a.${LANE[q]} * b${j};`).join(" ")).join(
          "\n        ",
        )
      }
      }`
    ).join("\n      ")
  }
    }
  }
  let taps = p.kernel_height * p.kernel_width;
  ${
    rows.map((i) =>
      `{
    let m = m0 + local.y * ${rows.length}u + ${i}u;
    if (m < p.in_quads) {
      ${
        range(4).map((q) =>
          `{
        let at = ((split * taps + tap) * p.in_quads * 4u + m * 4u + ${q}u) * p.out_quads;
        ${
            columns.map((j) =>
              `if (${quad(j)} < p.out_quads) { result[at + ${quad(j)}] = c${i * 4 + q}_${j}; }`
            )
              .join("\n        ")
          }
      }`
        ).join("\n      ")
      }
    }
  }`
    ).join("\n  ")
  }
}
`;
}

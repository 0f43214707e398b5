/**
 * WGSL of the depthwise convolution and its gradients. An invocation takes four channels (a vec4) and a strip of
 * pixels along a row, so that a value is loaded once for all the taps that use it; strips and taps are spelled out,
 * as for the products in `conv2d/generator.ts`. Sizes stay uniforms.
 */
import { CHANNEL_MASK, LINEAR_MAIN, range, storage } from "../../wgsl.ts";
import { type Activation, activationWgsl, keepsZero } from "../activation/activation.ts";

/** What a kernel's text depends on. */
export interface DepthwiseShape {
  kernelHeight: number;
  kernelWidth: number;
  stride: number;
  /** Pixels of a strip. */
  strip: number;
}

/** The uniform block: x is [batch, height, width], y is [batch, out_height, out_width]. */
const PARAMS = `
struct Params {
  batch: u32, height: u32, width: u32, vec4s: u32,
  out_height: u32, out_width: u32, pad_top: i32, pad_left: i32,
  strips: u32,   // in a row
  chunks: u32,   // parts that the weight gradient's sum over rows is cut into
  channels: u32, // without padding
}
@group(0) @binding(0) var<uniform> p: Params;
`;

/** Loads column \`column\` of the row that begins at vec4 \`row\`; zero outside of the image. */
const loadColumn = (name: string, row: string, column: string, width: string) =>
  `select(vec4<f32>(), ${name}[${row} + u32(clamp(${column}, 0, i32(${width}) - 1)) * p.vec4s], ` +
  `${column} >= 0 && ${column} < i32(${width}))`;

/** y = f(x * w + bias?). Bindings: x, w, [bias], y. */
export function forwardSource(
  { kernelHeight, kernelWidth, stride, strip }: DepthwiseShape,
  { bias, activation }: { bias: boolean; activation: Activation | undefined },
): string {
  const columns = (strip - 1) * stride + kernelWidth;
  const taps = (column: number) =>
    range(strip).flatMap((s) => {
      const tap = column - s * stride;
      return tap >= 0 && tap < kernelWidth ? [`sum${s} += value * w${tap};`] : [];
    });
  const finish = (sum: string) => {
    const value = `activation(${sum}${bias ? " + bias[vec4_index]" : ""})`;
    return keepsZero(activation)
      ? value
      : `select(vec4<f32>(), ${value}, is_channel(vec4_index, p.channels))`;
  };
  return `${LINEAR_MAIN}${activationWgsl(activation)}${CHANNEL_MASK}${PARAMS}${storage(1, "x")}${
    storage(2, "weight")
  }${bias ? storage(3, "bias") : ""}${storage(bias ? 4 : 3, "y", "read_write")}
fn invocation(i: u32) {
  let vec4_index = i % p.vec4s;
  let place = i / p.vec4s;
  let first = (place % p.strips) * ${strip}u;
  let out_row = place / p.strips;
  let image = out_row / p.out_height;
  if (image >= p.batch) { return; }
  let top = i32(out_row % p.out_height) * ${stride} - p.pad_top;
  let left = i32(first) * ${stride} - p.pad_left;
  ${range(strip).map((s) => `var sum${s} = vec4<f32>();`).join(" ")}
  for (var ky = 0; ky < ${kernelHeight}; ky++) {
    let iy = top + ky;
    if (iy < 0 || iy >= i32(p.height)) { continue; }
    let row = (image * p.height + u32(iy)) * p.width * p.vec4s + vec4_index;
    let tap = u32(ky) * ${kernelWidth}u * p.vec4s + vec4_index;
    ${range(kernelWidth).map((k) => `let w${k} = weight[tap + ${k}u * p.vec4s];`).join(" ")}
    ${
    range(columns).map((column) =>
      `{
      let value = ${loadColumn("x", "row", `(left + ${column})`, "p.width")};
      ${taps(column).join(" ")}
    }`
    ).join("\n    ")
  }
  }
  let at = (out_row * p.out_width + first) * p.vec4s + vec4_index;
  ${
    range(strip).map((s) =>
      `if (first + ${s}u < p.out_width) { y[at + ${s}u * p.vec4s] = ${finish(`sum${s}`)}; }`
    )
      .join("\n  ")
  }
}
`;
}

/**
 * dx from dy and w, plus an addend. Bindings: dy, w, [addend], dx.
 *
 * Column t - pad_left of x, with t = stride * a + s, meets column a + (s - k) / stride of dy where tap k leaves no
 * remainder. Strips begin at a multiple of the stride of t, so that the text knows which taps those are.
 *
 * @param shape the strip is a multiple of the stride
 */
export function inputGradientSource(
  { kernelHeight, kernelWidth, stride, strip }: DepthwiseShape,
  addend: boolean,
): string {
  const pairs = range(strip).flatMap((s) =>
    range(kernelWidth).filter((k) => (s - k) % stride === 0).map((k) => ({ s, k, column: (s - k) / stride }))
  );
  const columns = [...new Set(pairs.map(({ column }) => column))].sort((a, b) => a - b);
  const store = (s: number) =>
    `{
    let column = left + ${s};
    if (column >= 0 && column < i32(p.width)) {
      let at = (in_row * p.width + u32(column)) * p.vec4s + vec4_index;
      dx[at] = sum${s}${addend ? " + addend[at]" : ""};
    }
  }`;
  return `${LINEAR_MAIN}${PARAMS}${storage(1, "dy")}${storage(2, "weight")}${
    addend ? storage(3, "addend") : ""
  }${storage(addend ? 4 : 3, "dx", "read_write")}
fn invocation(i: u32) {
  let vec4_index = i % p.vec4s;
  let place = i / p.vec4s;
  let first = i32(place % p.strips) * ${strip / stride}; // a column of dy
  let in_row = place / p.strips;
  let image = in_row / p.height;
  if (image >= p.batch) { return; }
  let bottom = i32(in_row % p.height) + p.pad_top;
  // Padded columns before the first strip that has pixels are left out.
  let skipped = p.pad_left / ${stride};
  let left = (first + skipped) * ${stride} - p.pad_left;
  ${range(strip).map((s) => `var sum${s} = vec4<f32>();`).join(" ")}
  for (var ky = 0; ky < ${kernelHeight}; ky++) {
    let away = bottom - ky;
    let oy = away / ${stride};
    if (away < 0 || away % ${stride} != 0 || oy >= i32(p.out_height)) { continue; }
    let row = (image * p.out_height + u32(oy)) * p.out_width * p.vec4s + vec4_index;
    let tap = u32(ky) * ${kernelWidth}u * p.vec4s + vec4_index;
    ${range(kernelWidth).map((k) => `let w${k} = weight[tap + ${k}u * p.vec4s];`).join(" ")}
    ${
    columns.map((column) =>
      `{
      let value = ${loadColumn("dy", "row", `(first + skipped + ${column})`, "p.out_width")};
      ${
        pairs.filter((pair) => pair.column === column).map(({ s, k }) => `sum${s} += value * w${k};`).join(
          " ",
        )
      }
    }`
    ).join("\n    ")
  }
  }
  ${range(strip).map(store).join("\n  ")}
}
`;
}

/**
 * Partial dw [chunks, kh, kw, c] from x and dy: an invocation takes one row of taps and some rows of dy.
 * Bindings: x, dy, partial.
 */
export function weightGradientSource({ kernelHeight, kernelWidth, stride, strip }: DepthwiseShape): string {
  const columns = (strip - 1) * stride + kernelWidth;
  const products = (column: number) =>
    range(strip).flatMap((s) => {
      const tap = column - s * stride;
      return tap >= 0 && tap < kernelWidth ? [`sum${tap} += value * dy${s};`] : [];
    });
  return `${LINEAR_MAIN}${PARAMS}${storage(1, "x")}${storage(2, "dy")}${storage(3, "result", "read_write")}
fn invocation(i: u32) {
  let vec4_index = i % p.vec4s;
  let part = i / p.vec4s;
  let ky = part % ${kernelHeight}u;
  let chunk = part / ${kernelHeight}u;
  if (chunk >= p.chunks) { return; }
  let rows = p.batch * p.out_height;
  let per_chunk = (rows + p.chunks - 1u) / p.chunks;
  ${range(kernelWidth).map((k) => `var sum${k} = vec4<f32>();`).join(" ")}
  for (var out_row = chunk * per_chunk; out_row < min((chunk + 1u) * per_chunk, rows); out_row++) {
    let image = out_row / p.out_height;
    let iy = i32(out_row % p.out_height) * ${stride} - p.pad_top + i32(ky);
    if (iy < 0 || iy >= i32(p.height)) { continue; }
    let row = (image * p.height + u32(iy)) * p.width * p.vec4s + vec4_index;
    let dy_row = out_row * p.out_width * p.vec4s + vec4_index;
    for (var strip = 0u; strip < p.strips; strip++) {
      let first = i32(strip) * ${strip};
      let left = first * ${stride} - p.pad_left;
      ${
    range(strip).map((s) => `let dy${s} = ${loadColumn("dy", "dy_row", `(first + ${s})`, "p.out_width")};`)
      .join("\n      ")
  }
      ${
    range(columns).map((column) =>
      `{
        let value = ${loadColumn("x", "row", `(left + ${column})`, "p.width")};
        ${products(column).join(" ")}
      }`
    ).join("\n      ")
  }
    }
  }
  let at = (chunk * ${kernelHeight}u + ky) * ${kernelWidth}u * p.vec4s + vec4_index;
  ${range(kernelWidth).map((k) => `result[at + ${k}u * p.vec4s] = sum${k};`).join("\n  ")}
}
`;
}

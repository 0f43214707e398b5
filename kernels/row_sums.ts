/**
 * Sums over rows [rows, vec4s] for GPUs. A workgroup has some vec4s of channels and a part of the rows; its invocations
 * share the rows, and add up in workgroup memory, always in the same order. (Software adapters have no workgroup memory to
 * speak of: there an invocation sums a chunk of rows alone.)
 */
import type { Dispatch } from "./graph.ts";
import { range, uniforms } from "./wgsl.ts";

/** Invocations of a workgroup, and vec4s that they read side by side at most. */
const [INVOCATIONS, MOST_ACROSS] = [256, 32];

/** Workgroups that there should be, and rows that an invocation should have at least. */
const [WORKGROUPS, LEAST_ROWS] = [512, 8];

/** Rows that an invocation has on their way at the same time. */
const UNROLLED = 4;

/** How rows are shared among workgroups. */
export interface RowParts {
  perPart: number;
  parts: number;
}

function quadsAcross(vec4s: number): number {
  return Math.min(MOST_ACROSS, 2 ** Math.ceil(Math.log2(vec4s)));
}

/** Parts of about the same size: enough for the device, each long enough to be worth it. */
export function cutRows(rows: number, vec4s: number): RowParts {
  const across = quadsAcross(vec4s);
  const wanted = Math.ceil(WORKGROUPS / Math.ceil(vec4s / across));
  const most = Math.ceil(rows * across / (INVOCATIONS * LEAST_ROWS));
  const perPart = Math.ceil(rows / Math.min(wanted, most));
  return { perPart, parts: Math.ceil(rows / perPart) };
}

/** Parts of one size, none of which has rows of two images: as many for each as keep the device busy. */
export function cutImages(images: number, pixels: number, vec4s: number): RowParts & { ofImage: number } {
  const across = quadsAcross(vec4s);
  const wanted = WORKGROUPS / (images * Math.ceil(vec4s / across));
  const most = pixels * across / (INVOCATIONS * LEAST_ROWS);
  let ofImage = 1;
  while (2 * ofImage <= Math.min(wanted, most) && pixels % (2 * ofImage) === 0) ofImage *= 2;
  return { perPart: pixels / ofImage, parts: images * ofImage, ofImage };
}

/** What is summed. */
export interface RowSumText {
  /** Declares the bindings and functions that the rest uses. */
  declarations: string;
  /** Members of the uniform block `p` behind `rows`, `vec4s` and `per_part`, and their words. */
  params?: string;
  words?: readonly number[];
  /** Variables that are summed, vec4 each. */
  sums: readonly string[];
  /** Statements before the sum; they know `vec4`, `part` and the part's rows `first` to `last`. */
  begin?: string;
  /**
   * Statements that add the vec4 at index `at` of [rows, vec4s], in the row `this_row`, to the sums. Where `own` is not below `p.vec4s`, another
   * invocation has that vec4, and what is written must be left to it.
   */
  add: string;
  /** Statements that store the sums of a part. */
  store: string;
}

/**
 * The kernel that sums each part of images [images, pixels, vec4s]. Its text knows also `channels`, the index of the vec4 in
 * [images, vec4s], and `sum_at`, that in the parts of all images [parts of an image, images, vec4s].
 */
export function imageSums(
  images: number,
  pixels: number,
  vec4s: number,
  parts: ReturnType<typeof cutImages>,
  text: Omit<RowSumText, "params" | "words">,
): Pick<Dispatch, "source" | "uniforms" | "workgroups"> {
  return rowSums(images * pixels, vec4s, parts, {
    ...text,
    params: "images: u32, of_image: u32",
    words: [images, parts.ofImage],
    begin: `let channels = part / p.of_image * p.vec4s + vec4_index;
  let sum_at = part % p.of_image * p.images * p.vec4s + channels;
  ${text.begin ?? ""}`,
  });
}

/** WGSL: adds up each of `sums` over the lanes of a workgroup, into its first. */
const addLanes = (sums: readonly string[], across: number) => `
  ${sums.map((sum) => `${sum}_lanes[local] = ${sum};`).join("\n  ")}
  for (var step = ${INVOCATIONS / across / 2}u; step > 0u; step /= 2u) {
    workgroupBarrier();
    if (lane < step) {
      ${sums.map((sum) => `${sum}_lanes[local] += ${sum}_lanes[local + step * ${across}u];`).join("\n      ")}
    }
  }`;

/** The entry point, up to where an invocation knows its `vec4`, `lane` and `part`. */
const head = (sums: readonly string[], across: number) => `
${
  sums.map((sum) => `var<workgroup> ${sum}_lanes: array<vec4<f32>, ${INVOCATIONS}>; // [lanes, vec4s]`).join(
    "\n",
  )
}

@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let own = group.x * ${across}u + local % ${across}u;
  let vec4_index = min(own, p.vec4s - 1u); // what lies past the end is summed in vain
  let lane = local / ${across}u;
  let part = group.y;
  ${sums.map((sum) => `var ${sum} = vec4<f32>();`).join("\n  ")}
`;

/** The kernel that sums each part of the rows. */
export function rowSums(
  rows: number,
  vec4s: number,
  { perPart, parts }: RowParts,
  { declarations, params = "", words = [], sums, begin = "", add, store }: RowSumText,
): Pick<Dispatch, "source" | "uniforms" | "workgroups"> {
  const across = quadsAcross(vec4s);
  const down = INVOCATIONS / across;
  const addRow = (row: string) =>
    `{ let this_row = ${row}; let at = this_row * p.vec4s + vec4_index; ${add} }`;
  return {
    source: `
struct Params { rows: u32, vec4s: u32, per_part: u32, ${params} }
@group(0) @binding(0) var<uniform> p: Params;
${declarations}${head(sums, across)}
  let first = part * p.per_part;
  let last = min(first + p.per_part, p.rows);
  ${begin}
  var row = first + lane;
  for (; row + ${(UNROLLED - 1) * down}u < last; row += ${UNROLLED * down}u) {
    ${range(UNROLLED).map((i) => addRow(`row + ${i * down}u`)).join("\n    ")}
  }
  for (; row < last; row += ${down}u) ${addRow("row")}
  ${addLanes(sums, across)}
  if (lane == 0u && own < p.vec4s) {
    ${sums.map((sum) => `${sum} = ${sum}_lanes[local];`).join("\n    ")}
    ${store}
  }
}
`,
    uniforms: uniforms(rows, vec4s, perPart, ...words),
    workgroups: [Math.ceil(vec4s / across), parts, 1],
  };
}

/** What surrounds the mean and the variance of {@linkcode combineStatistics}; as in {@linkcode RowSumText}. */
export type StatisticsText = Required<Pick<RowSumText, "declarations" | "params" | "words" | "store">>;

/**
 * The kernel that combines the means and squared deviations of parts [parts, 2, vec4s] (Chan et al.) into the `mean` and
 * the biased `variance` that are stored. Bindings: parts, statistics, and what the text declares.
 */
export function combineStatistics(
  rows: number,
  vec4s: number,
  { perPart, parts }: RowParts,
  { declarations, params, words, store }: StatisticsText,
): Pick<Dispatch, "source" | "uniforms" | "workgroups"> {
  const across = Math.min(16, quadsAcross(vec4s));
  const lanes = INVOCATIONS / across;
  const overParts = (body: string) => `
  for (var i = lane; i < p.parts; i += ${lanes}u) {
    let count = f32(min((i + 1u) * p.per_part, p.rows) - i * p.per_part);
    let shift = parts[2u * i * p.vec4s + vec4_index] - pivot;
    ${body}
  }`;
  return {
    source: `
struct Params { rows: u32, vec4s: u32, per_part: u32, parts: u32, ${params} }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> statistics: array<vec4<f32>>;
${declarations}
${head(["shifts", "squares"], across)}
  let pivot = parts[vec4_index]; // deviations from one of the means are small where the means are large but close together
  ${overParts("shifts += count * shift;")}
  ${addLanes(["shifts"], across)}
  workgroupBarrier();
  let mean_shift = shifts_lanes[local % ${across}u] / f32(p.rows);
  ${
      overParts(`let deviation = shift - mean_shift;
    squares += parts[(2u * i + 1u) * p.vec4s + vec4_index] + count * deviation * deviation;`)
    }
  ${addLanes(["squares"], across)}
  if (lane == 0u && own < p.vec4s) {
    let mean = pivot + mean_shift;
    let variance = squares_lanes[local] / f32(p.rows);
    ${store}
  }
}
`,
    uniforms: uniforms(rows, vec4s, perPart, parts, ...words),
    workgroups: [Math.ceil(vec4s / across), 1, 1],
  };
}

/**
 * Kernels that reduce each row of [rows, vec4s] to some numbers and then write the row. A software adapter gives a row to one
 * invocation. A GPU gives it to some lanes of a workgroup, which add up in workgroup memory, always in the same order.
 */
import type { Dispatch } from "./graph.ts";
import type { Target } from "./gpu.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "./wgsl.ts";

/** Invocations of a workgroup, and of a row at most. */
const [INVOCATIONS, MOST_LANES] = [128, 64];

/** Lanes of a row on a GPU: so many that each has two to four vec4s, where there are not too many. */
function lanesOf(vec4s: number): number {
  return Math.min(MOST_LANES, 2 ** Math.floor(Math.log2(Math.max(1, vec4s / 2))));
}

const ON_SOFTWARE = `
const LANES = 1u;
fn sum_over_row(lane: RowLane, sums: mat2x4<f32>) -> vec2<f32> {
  return vec2<f32>(dot(sums[0], vec4<f32>(1.0)), dot(sums[1], vec4<f32>(1.0)));
}
fn invocation(i: u32) {
  if (i < p.rows) { over_row(RowLane(i, 0u, p.vec4s, 0u)); }
}
`;

const onGpu = (lanes: number) => `
const LANES = ${lanes}u;
const ROWS = ${INVOCATIONS / lanes}u;
var<workgroup> lane_sums: array<vec2<f32>, ${INVOCATIONS}>; // [rows, lanes]

fn sum_over_row(lane: RowLane, sums: mat2x4<f32>) -> vec2<f32> {
  workgroupBarrier(); // what was summed before has been read
  lane_sums[lane.local] = vec2<f32>(dot(sums[0], vec4<f32>(1.0)), dot(sums[1], vec4<f32>(1.0)));
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    workgroupBarrier();
    if (lane.first < step) { lane_sums[lane.local] += lane_sums[lane.local + step]; }
  }
  workgroupBarrier();
  return lane_sums[lane.local - lane.first];
}

@compute @workgroup_size(${INVOCATIONS})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let row = (group.y * groups.x + group.x) * ROWS + local / LANES;
  // What lies past the end has no vec4s, but takes part in the barriers.
  over_row(RowLane(row, local % LANES, select(0u, p.vec4s, row < p.rows), local));
}
`;

/**
 * The kernel, given the text of `fn over_row(lane: RowLane)` and of its bindings. An invocation has the vec4s
 * `for (var q = lane.first; q < lane.end; q += LANES)` of `lane.row`, and `lane.first == 0u && lane.end > 0u` is one of each
 * row. `sum_over_row(lane, sums)` adds the numbers in each of two vec4s over the row; all lanes must call it.
 *
 * @param params members of the uniform block `p` behind `rows`, `vec4s` and `channels`, and `words` their words
 */
export function rowLanes(
  { isSoftware }: Target,
  [rows, vec4s, channels]: readonly [rows: number, vec4s: number, channels: number],
  text: string,
  params = "",
  words: readonly number[] = [],
): Pick<Dispatch, "source" | "uniforms" | "workgroups"> {
  const lanes = lanesOf(vec4s);
  return {
    source: `
struct Params { rows: u32, vec4s: u32, channels: u32, ${params} }
@group(0) @binding(0) var<uniform> p: Params;
struct RowLane { row: u32, first: u32, end: u32, local: u32 }
${isSoftware ? LINEAR_MAIN + ON_SOFTWARE : onGpu(lanes)}${text}`,
    uniforms: uniforms(rows, vec4s, channels, ...words),
    workgroups: isSoftware
      ? linearWorkgroups(rows, LINEAR_SIZE)
      : linearWorkgroups(rows, INVOCATIONS / lanes),
  };
}

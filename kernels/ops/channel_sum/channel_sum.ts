/** Sum over every dimension but the channels: the gradient of a bias. */
import { type Op, rowsAndVec4s } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import { sumInParts, sumPartials } from "../sum_partials/sum_partials.ts";
import wgsl from "./channel_sum.wgsl" with { type: "text" };

/**
 * Rows that one invocation of a reduction over rows takes, and how many such chunks there are: at most
 * 256, so that the second half of the sum stays short.
 */
export function chunkRows(rows: number): { perChunk: number; chunks: number } {
  const perChunk = Math.max(32, Math.ceil(rows / 256));
  return { perChunk, chunks: Math.ceil(rows / perChunk) };
}

/** Rows that GPUs add up in one dispatch, as they do the parts of a sum. */
const MOST_ROWS_AT_ONCE = 1024;

/** x [..., c] -> [c]. */
export const channelSum: Op<Record<never, never>> = {
  name: "channel_sum",

  shape: ([x]) => [{ shape: [x.shape.at(-1)!] }],

  lower(lowering, node) {
    const [x] = node.inputs;
    const [sum] = node.outputs;
    const { rows, vec4s } = rowsAndVec4s(x);
    if (!lowering.target.isSoftware && rows <= MOST_ROWS_AT_ONCE) {
      return sumPartials(lowering, x, rows, sum); // every row is a part
    }
    const { perChunk, chunks } = chunkRows(rows);
    sumInParts(lowering, chunks, sum, "partial sums", (sums) =>
      lowering.dispatch({
        label: "channel_sum",
        source: LINEAR_MAIN + wgsl,
        bindings: [x, sums],
        uniforms: uniforms(rows, vec4s, perChunk, chunks),
        workgroups: linearWorkgroups(chunks * vec4s, LINEAR_SIZE),
      }));
  },
};

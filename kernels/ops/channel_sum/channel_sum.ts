/** Sum over every dimension but the channels: the gradient of a bias. */
import { type Op, paddedCount, padTo4 } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import { sumPartials } from "../sum_partials/sum_partials.ts";
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
    const channels = x.shape.at(-1)!;
    const quads = padTo4(channels) / 4;
    const rows = paddedCount(x) / (quads * 4);
    if (!lowering.target.isSoftware && rows <= MOST_ROWS_AT_ONCE) {
      sumPartials(lowering, x, rows, node.outputs[0]); // every row is a part
      return;
    }
    const { perChunk, chunks } = chunkRows(rows);
    const result = chunks === 1
      ? node.outputs[0]
      : lowering.scratch({ shape: [chunks, channels] }, "partial sums");
    lowering.dispatch({
      label: "channel_sum",
      source: LINEAR_MAIN + wgsl,
      bindings: [x, result],
      uniforms: uniforms(rows, quads, perChunk, chunks),
      workgroups: linearWorkgroups(chunks * quads, LINEAR_SIZE),
    });
    if (chunks > 1) sumPartials(lowering, result, chunks, node.outputs[0]);
  },
};

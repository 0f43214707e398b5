/** Mean of all elements: the last op of most losses. */
import { elementCount, type Op, rowsAndVec4s } from "../../graph.ts";
import { CHANNEL_MASK, f32, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import { rowSum } from "../row_sum/row_sum.ts";
import rowReduceWgsl from "../../row_reduce.wgsl" with { type: "text" };
import wgsl from "./mean.wgsl" with { type: "text" };
import gradientWgsl from "./mean_gradient.wgsl" with { type: "text" };

/** x of any shape -> [1]. */
export const mean: Op<Record<never, never>> = {
  name: "mean",

  shape: () => [{ shape: [1] }],

  gradient: (graph, node, [dy]) => [graph.apply(meanGradient, [dy!], { shape: node.inputs[0].shape })],

  lower(lowering, node) {
    const [x] = node.inputs;
    const { rows } = rowsAndVec4s(x);
    // Rows first, side by side, and then their sums: a large tensor is not left to one workgroup.
    const sums = lowering.scratch({ shape: [rows, 1] }, "sums of rows");
    rowSum.lower(lowering, { ...node, op: rowSum, outputs: [sums] }, {});
    lowering.dispatch({
      label: "mean",
      source: rowReduceWgsl + wgsl,
      bindings: [sums, node.outputs[0]],
      uniforms: uniforms(rows, f32(1 / elementCount(x.shape))),
      workgroups: [1, 1, 1],
    });
  },
};

/** dy [1] -> dy / n in each of the n elements of `shape`. */
const meanGradient: Op<{ shape: readonly number[] }> = {
  name: "mean_gradient",

  shape: (_inputs, { shape }) => [{ shape }],

  lower(lowering, node, { shape }) {
    const [dx] = node.outputs;
    const { rows, vec4s } = rowsAndVec4s(dx);
    lowering.dispatch({
      label: "mean_gradient",
      source: LINEAR_MAIN + CHANNEL_MASK + gradientWgsl,
      bindings: [node.inputs[0], dx],
      uniforms: uniforms(rows * vec4s, vec4s, shape.at(-1)!, f32(1 / elementCount(shape))),
      workgroups: linearWorkgroups(rows * vec4s, LINEAR_SIZE),
    });
  },
};

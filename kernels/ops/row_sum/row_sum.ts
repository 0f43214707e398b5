/** Sums of rows, and values spread over rows: each is the other's gradient. */
import { expectShape, type Op, rowsAndVec4s } from "../../graph.ts";
import { CHANNEL_MASK, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import rowReduceWgsl from "../../row_reduce.wgsl" with { type: "text" };
import wgsl from "./row_sum.wgsl" with { type: "text" };
import spreadWgsl from "./spread_rows.wgsl" with { type: "text" };

/** x [..., c] -> [..., 1]. */
export const rowSum: Op<Record<never, never>> = {
  name: "row_sum",

  shape: ([x]) => [{ shape: x.shape.with(-1, 1) }],

  gradient: (graph, node, [dy]) => [
    graph.apply(spreadRows, [dy!], { columns: node.inputs[0].shape.at(-1)! }),
  ],

  lower(lowering, node) {
    const { rows, vec4s } = rowsAndVec4s(node.inputs[0]);
    lowering.dispatch({
      label: "row_sum",
      source: rowReduceWgsl + wgsl,
      bindings: [node.inputs[0], node.outputs[0]],
      uniforms: uniforms(vec4s, rows),
      workgroups: [1, rows, 1],
    });
  },
};

/** x [..., 1] -> [..., columns], each value over its row. */
export const spreadRows: Op<{ columns: number }> = {
  name: "spread_rows",

  shape([x], { columns }) {
    expectShape("spread_rows", x.shape.at(-1) === 1, "[..., 1]", x);
    return [{ shape: x.shape.with(-1, columns) }];
  },

  gradient: (graph, _node, [dy]) => [graph.apply(rowSum, [dy!], {})],

  lower(lowering, node, { columns }) {
    const { rows, vec4s } = rowsAndVec4s(node.outputs[0]);
    lowering.dispatch({
      label: "spread_rows",
      source: LINEAR_MAIN + CHANNEL_MASK + spreadWgsl,
      bindings: [node.inputs[0], node.outputs[0]],
      uniforms: uniforms(rows, vec4s, columns),
      workgroups: linearWorkgroups(rows * vec4s, LINEAR_SIZE),
    });
  },
};

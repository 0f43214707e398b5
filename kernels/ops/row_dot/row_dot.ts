/** Dot products of matching rows. */
import { expectShape, type Op, paddedCount, padTo4 } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./row_dot.wgsl" with { type: "text" };
import scaleWgsl from "./scale_rows.wgsl" with { type: "text" };

/** a [n, 1, 1, d], b [n, 1, 1, d] -> [n, 1, 1, 1]. */
export const rowDot: Op<Record<never, never>> = {
  name: "row_dot",

  shape([a, b]) {
    expectShape("row_dot", a.shape.join() === b.shape.join(), "two tensors of one shape", a, b);
    return [{ shape: a.shape.with(-1, 1) }];
  },

  lower(lowering, node) {
    const quads = padTo4(node.inputs[0].shape.at(-1)!) / 4;
    const rows = paddedCount(node.inputs[0]) / (quads * 4);
    lowering.dispatch({
      label: "row_dot",
      source: LINEAR_MAIN + wgsl,
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: uniforms(rows, quads),
      workgroups: linearWorkgroups(rows, LINEAR_SIZE),
    });
  },
};

/** Rows of x [..., d] times their factor [..., 1]. */
export const scaleRows: Op<Record<never, never>> = {
  name: "scale_rows",

  shape: ([x]) => [{ shape: x.shape }],

  lower(lowering, node) {
    const quads = padTo4(node.inputs[0].shape.at(-1)!) / 4;
    const count = paddedCount(node.inputs[0]) / 4;
    lowering.dispatch({
      label: "scale_rows",
      source: LINEAR_MAIN + scaleWgsl,
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: uniforms(count, quads),
      workgroups: linearWorkgroups(count, LINEAR_SIZE),
    });
  },
};

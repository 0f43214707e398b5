/** Dot products of matching rows, and rows times a number each. */
import { expectShape, type Op, rowsAndVec4s } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./row_dot.wgsl" with { type: "text" };
import scaleWgsl from "./scale_rows.wgsl" with { type: "text" };

/** a [..., d], b [..., d] -> [..., 1]. */
export const rowDot: Op<Record<never, never>> = {
  name: "row_dot",

  shape([a, b]) {
    expectShape("row_dot", a.shape.join() === b.shape.join(), "two tensors of one shape", a, b);
    return [{ shape: a.shape.with(-1, 1) }];
  },

  gradient(graph, { inputs: [a, b] }, [dy], [needsA, needsB]) {
    return [
      needsA ? graph.apply(scaleRows, [b, dy!], {}) : undefined,
      needsB ? graph.apply(scaleRows, [a, dy!], {}) : undefined,
    ];
  },

  lower(lowering, node) {
    const { rows, vec4s } = rowsAndVec4s(node.inputs[0]);
    lowering.dispatch({
      label: "row_dot",
      source: LINEAR_MAIN + wgsl,
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: uniforms(rows, vec4s),
      workgroups: linearWorkgroups(rows, LINEAR_SIZE),
    });
  },
};

/** Rows of x [..., d] times their factor [..., 1]. */
export const scaleRows: Op<Record<never, never>> = {
  name: "scale_rows",

  shape([x, factor]) {
    expectShape(
      "scale_rows",
      factor.shape.join() === x.shape.with(-1, 1).join(),
      "x [..., d], factor [..., 1]",
      x,
      factor,
    );
    return [{ shape: x.shape }];
  },

  gradient(graph, { inputs: [x, factor] }, [dy], [needsX, needsFactor]) {
    return [
      needsX ? graph.apply(scaleRows, [dy!, factor], {}) : undefined,
      needsFactor ? graph.apply(rowDot, [dy!, x], {}) : undefined,
    ];
  },

  lower(lowering, node) {
    const { rows, vec4s } = rowsAndVec4s(node.inputs[0]);
    const count = rows * vec4s;
    lowering.dispatch({
      label: "scale_rows",
      source: LINEAR_MAIN + scaleWgsl,
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: uniforms(count, vec4s),
      workgroups: linearWorkgroups(count, LINEAR_SIZE),
    });
  },
};

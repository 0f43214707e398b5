/** Product of two tensors of one shape, element by element. */
import { expectShape, type Op, paddedCount } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./multiply.wgsl" with { type: "text" };

/** y = a * b. */
export const multiply: Op<Record<never, never>> = {
  name: "multiply",

  shape([a, b]) {
    expectShape("multiply", a.shape.join() === b.shape.join(), "two tensors of one shape", a, b);
    return [{ shape: a.shape }];
  },

  gradient(graph, { inputs: [a, b] }, [dy], [needsA, needsB]) {
    return [
      needsA ? graph.apply(multiply, [dy!, b], {}) : undefined,
      needsB ? graph.apply(multiply, [dy!, a], {}) : undefined,
    ];
  },

  lower(lowering, node) {
    const vec4s = paddedCount(node.outputs[0]) / 4;
    lowering.dispatch({
      label: "multiply",
      source: LINEAR_MAIN + wgsl,
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: uniforms(vec4s),
      workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
    });
  },
};

/** Sums gradients over the batches of a group, over a whole arena at once. */
import { expectShape, type Op, paddedCount } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./accumulate.wgsl" with { type: "text" };

/**
 * sum = sum + weight * gradient, or the weighted gradient alone for a group's first batch. Inputs: the sum, the gradient,
 * and [2]: the batch's number in its group, from 0, and its weight.
 */
export const accumulate: Op<Record<never, never>> = {
  name: "accumulate",
  hasEffect: true,

  shape([sum, gradient]) {
    const fits = paddedCount(sum) === paddedCount(gradient);
    expectShape("accumulate", fits, "a sum and gradients of one size", sum, gradient);
    return [];
  },

  lower(lowering, node) {
    const vec4s = paddedCount(node.inputs[0]) / 4;
    lowering.dispatch({
      label: "accumulate",
      source: LINEAR_MAIN + wgsl,
      bindings: node.inputs,
      uniforms: uniforms(vec4s),
      workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
    });
  },
};

/** Exponential moving average of weights, as momentum encoders have it (MoCo, equation 2), over a whole arena at once. */
import { expectShape, type Op, paddedCount } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./moving_average.wgsl" with { type: "text" };

/**
 * average = m * average + (1 - m) * values. Inputs: average, values, and m [1], which may change from step to step.
 */
export const movingAverage: Op<Record<never, never>> = {
  name: "moving_average",
  hasEffect: true,

  shape([average, values]) {
    const fits = paddedCount(average) === paddedCount(values);
    expectShape("moving_average", fits, "an average and values of one size", average, values);
    return [];
  },

  lower(lowering, node) {
    const vec4s = paddedCount(node.inputs[0]) / 4;
    lowering.dispatch({
      label: "moving_average",
      source: LINEAR_MAIN + wgsl,
      bindings: node.inputs,
      uniforms: uniforms(vec4s),
      workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
    });
  },
};

/** Zeros in the place of what is not finite. */
import { type Op, paddedCount } from "../../graph.ts";
import { ARE_FINITE, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./finite_or_zero.wgsl" with { type: "text" };

/** x of any shape -> the same, with 0 for NaN and the infinities. There is no gradient. */
export const finiteOrZero: Op<Record<never, never>> = {
  name: "finite_or_zero",

  shape: ([x]) => [{ shape: x.shape }],

  lower(lowering, { inputs: [x], outputs: [y] }) {
    const vec4s = paddedCount(x) / 4;
    lowering.dispatch({
      label: "finite_or_zero",
      source: LINEAR_MAIN + ARE_FINITE + wgsl,
      bindings: [x, y],
      uniforms: uniforms(vec4s),
      workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
    });
  },
};

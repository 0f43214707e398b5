/** Sums of squares of many tensors, in parts: what norms are made of. */
import { type Op, paddedCount } from "../../graph.ts";
import { uniforms } from "../../wgsl.ts";
import rowReduceWgsl from "../../row_reduce.wgsl" with { type: "text" };
import sumWgsl from "./sums_of_squares.wgsl" with { type: "text" };

/** Parts of each tensor's sum: workgroups that share it. */
const PARTS = 16;

/**
 * Inputs: a tensor whose first number all others are divided by, and n tensors -> [n, 16, 1], the parts of each one's sum of
 * squares, which the host adds. Order and number of the parts do not depend on the device.
 */
export const sumsOfSquares: Op<Record<never, never>> = {
  name: "sums_of_squares",

  shape: ([, ...tensors]) => [{ shape: [tensors.length, PARTS, 1] }],

  lower(lowering, { inputs: [divisor, ...tensors], outputs: [sums] }) {
    for (const [i, tensor] of tensors.entries()) {
      lowering.dispatch({
        label: "sum_of_squares",
        source: rowReduceWgsl + sumWgsl,
        bindings: [tensor, divisor, tensors.length === 1 ? sums : lowering.rows(sums, i, 1)],
        uniforms: uniforms(paddedCount(tensor) / 4),
        workgroups: [PARTS, 1, 1],
      });
    }
  },
};

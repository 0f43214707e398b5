/** Similarities of every row of one matrix with every row of another. */
import { expectShape, isRows, type Op } from "../../graph.ts";
import { conv2d, conv2dInputGradient, conv2dWeightGradient } from "../conv2d/conv2d.ts";
import { POINTWISE } from "../conv2d/geometry.ts";

/**
 * a [n, 1, 1, d], b [1, 1, k, d] -> a b^T [n, 1, 1, k]; k a multiple of four.
 *
 * It is the input gradient of a 1 x 1 convolution, and runs as one.
 */
export const matmulTransposed: Op<Record<never, never>> = {
  name: "matmul_transposed",

  shape([a, b]) {
    const [[n, , , d], [, , k]] = [a.shape, b.shape];
    const fits = isRows(a) && b.shape.join() === `1,1,${k},${d}` && k % 4 === 0;
    expectShape("matmul_transposed", fits, "a [n, 1, 1, d] and b [1, 1, k, d], k a multiple of 4", a, b);
    return [{ shape: [n, 1, 1, k] }];
  },

  gradient(graph, { inputs: [a, b] }, [dy], [needsA, needsB]) {
    return [
      needsA ? graph.apply(conv2d, [dy!, b], POINTWISE) : undefined,
      needsB ? graph.apply(conv2dWeightGradient, [dy!, a], { ...POINTWISE, like: b.shape }) : undefined,
    ];
  },

  lower(lowering, node) {
    conv2dInputGradient.lower(lowering, node, { ...POINTWISE, like: node.outputs[0].shape });
  },
};

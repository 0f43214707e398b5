/** The largest similarities of every row, with the labels of their columns. */
import { expectShape, type Op, padTo4 } from "../../graph.ts";
import { uniforms } from "../../wgsl.ts";
import wgsl from "./top_k.wgsl" with { type: "text" };

/** Attributes of {@linkcode topK}. */
export interface TopKAttributes {
  /** How many are kept, at least one. */
  k: number;
  /** Columns that count; those behind are padding. */
  columns: number;
  /** How many of the best so far are valid; 0 where none are given. */
  previous: number;
}

/** How many of the k places that {@linkcode topK} writes are taken. */
export function topKCount({ k, columns, previous }: TopKAttributes): number {
  return Math.min(k, previous + columns);
}

/**
 * Inputs: similarities [m, 1, 1, n], n a multiple of four, and labels u32 [n] of the columns; after the first part of
 * a matrix that is handled in parts also the best so far, values [m, 1, 1, k] and labels u32 [m, k], as this op gave
 * them. Outputs: the new best, values [m, 1, 1, k] and labels u32 [m, k].
 *
 * The best stand in the order of their columns, not of their values; of equal values at the border the first columns
 * are kept. So the result is the same bits for any division of the columns into parts. Places that cannot be filled
 * come last, with the value -infinity and the label 0xffffffff. There is no gradient. Similarities must not be NaN.
 */
export const topK: Op<TopKAttributes> = {
  name: "top_k",

  shape([z, labels, best, bestLabels], { k, columns, previous }) {
    const [rows, , , padded] = z.shape;
    expectShape(
      "top_k",
      z.shape.length === 4 && padded % 4 === 0 && labels.dtype === "u32" &&
        labels.shape.join() === `${padded}` &&
        columns >= 1 && columns <= padded,
      `similarities [m, 1, 1, n] and u32 labels [n], n a multiple of 4 and at least ${columns}`,
      z,
      labels,
    );
    if (best === undefined) {
      expectShape("top_k", previous === 0, `the best ${previous} so far`, z, labels);
    } else {
      expectShape(
        "top_k",
        best.shape.join() === [rows, 1, 1, k].join() && bestLabels.shape.join() === [rows, k].join() &&
          bestLabels.dtype === "u32" && previous <= k,
        `the best so far as [${rows}, 1, 1, ${k}] and u32 [${rows}, ${k}]`,
        best,
        bestLabels,
      );
    }
    return [{ shape: [rows, 1, 1, k] }, { shape: [rows, k], dtype: "u32" }];
  },

  lower(lowering, node, attributes) {
    // Without a best so far its bindings are never read, and any tensor will do for them.
    const [z, labels, best = z, bestLabels = labels] = node.inputs;
    const [rows, , , padded] = z.shape;
    const { k, columns, previous } = attributes;
    lowering.dispatch({
      label: "top_k",
      source: wgsl,
      bindings: [z, labels, best, bestLabels, ...node.outputs],
      uniforms: uniforms(padded / 4, columns, k, padTo4(k), previous, topKCount(attributes)),
      workgroups: [rows, 1, 1],
    });
  },
};

/** Cross-entropy of a classifier's logits with class numbers, and where each row's class ranks among its logits. */
import { expectShape, isRows, type Op, padTo4 } from "../../graph.ts";
import { meanLoss } from "../../mean_loss.ts";
import { CHANNEL_MASK, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import gradientWgsl from "./cross_entropy_gradient.wgsl" with { type: "text" };
import rowsWgsl from "./cross_entropy_rows.wgsl" with { type: "text" };

/** Attributes of {@linkcode crossEntropy}: none. */
export type CrossEntropyAttributes = Record<never, never>;

/**
 * Inputs: logits [n, 1, 1, c]; labels u32 [n], each below c; and count u32 [1], the number of rows in use. Later rows
 * are ignored, so that a smaller last batch needs no program of its own.
 *
 * Outputs: the loss [1], a mean over the rows (`torch.nn.CrossEntropyLoss`); and [n, 4] with four values per row.
 * These are the largest logit, 1 / sum of exponentials relative to it, the row's loss, and its rank. The rank is the
 * number of logits larger than the label's, including equal ones of lower classes. A row counts for top-k accuracy if
 * its rank is below k.
 */
export const crossEntropy: Op<CrossEntropyAttributes> = {
  name: "cross_entropy",
  isLoss: true,

  shape([z, labels, count]) {
    const fits = isRows(z) && labels.shape.join() === String(z.shape[0]) &&
      labels.dtype === "u32" && count.shape.join() === "1" && count.dtype === "u32";
    expectShape(
      "cross_entropy",
      fits,
      "logits [n, 1, 1, c], labels u32 [n], count u32 [1]",
      z,
      labels,
      count,
    );
    return [{ shape: [1] }, { shape: [z.shape[0], 4] }];
  },

  gradient(graph, node) {
    return [graph.apply(crossEntropyGradient, [...node.inputs, node.outputs[1]], {}), undefined, undefined];
  },

  lower(lowering, node) {
    const [z, labels, count] = node.inputs;
    const [loss, rowState] = node.outputs;
    const [rows] = z.shape;
    const columns = z.shape[3];
    lowering.dispatch({
      label: "cross_entropy rows",
      source: CHANNEL_MASK + rowsWgsl,
      bindings: [z, labels, rowState],
      uniforms: uniforms(padTo4(columns) / 4, columns),
      workgroups: [rows, 1, 1],
    });
    lowering.dispatch({
      label: "cross_entropy mean",
      source: meanLoss({
        declarations: "@group(0) @binding(3) var<storage, read> count: array<u32>; // [1]\n",
        count: "min(count[0], p.rows)",
        loss: "row_state[row].z",
      }),
      bindings: [rowState, loss, count],
      uniforms: uniforms(rows),
      workgroups: [1, 1, 1],
    });
  },
};

/** dz [n, 1, 1, c]: (softmax(z) - one_hot(label)) / count; zero in the rows that are not there. */
const crossEntropyGradient: Op<CrossEntropyAttributes> = {
  name: "cross_entropy_gradient",

  shape: ([z]) => [{ shape: z.shape }],

  lower(lowering, node) {
    const [z] = node.inputs;
    const [rows, , , columns] = z.shape;
    const vec4s = padTo4(columns) / 4;
    lowering.dispatch({
      label: "cross_entropy_gradient",
      source: LINEAR_MAIN + CHANNEL_MASK + gradientWgsl,
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: uniforms(rows, vec4s, columns),
      workgroups: linearWorkgroups(rows * vec4s, LINEAR_SIZE),
    });
  },
};

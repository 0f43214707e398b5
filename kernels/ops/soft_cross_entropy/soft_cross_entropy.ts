/**
 * Cross-entropy between two softmax distributions over the same columns, one given by a target's logits, one by the
 * logits that are trained. The distributions have one column more than the matrices: `own`, a value of each row.
 *
 * Neither distribution is stored: the forward pass keeps four numbers a row, and the gradient is made from the
 * logits again.
 */
import { expectShape, type Op, padTo4 } from "../../graph.ts";
import { f32, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import gradientWgsl from "./soft_cross_entropy_gradient.wgsl" with { type: "text" };
import meanWgsl from "./soft_cross_entropy_mean.wgsl" with { type: "text" };
import rowsWgsl from "./soft_cross_entropy_rows.wgsl" with { type: "text" };

/** Attributes of {@linkcode softCrossEntropy}. */
export interface SoftCrossEntropyAttributes {
  /** Divides the trained similarities. */
  temperature: number;
  /** Divides the target's. */
  targetTemperature: number;
  /** Columns that count; those behind are padding. */
  columns: number;
}

/**
 * Inputs: similarities [n, 1, 1, k] and own [n, 1, 1, 1] of what is trained, then the target's. Outputs: the loss [1],
 * a mean over rows of -sum_j q_j log p_j, with p = softmax([own, similarities] / temperature) and q that of the target;
 * and [n, 8], per row (max of p's logits, 1 / sum of p's exponentials, the same of q; loss).
 */
export const softCrossEntropy: Op<SoftCrossEntropyAttributes> = {
  name: "soft_cross_entropy",

  shape([z, own, target, targetOwn], { columns }) {
    const fits = z.shape.join() === target.shape.join() && own.shape.join() === targetOwn.shape.join() &&
      columns <= z.shape[3];
    expectShape(
      "soft_cross_entropy",
      fits,
      "matching shapes of the trained and the target's",
      z,
      own,
      target,
      targetOwn,
    );
    return [{ shape: [1] }, { shape: [z.shape[0], 8] }];
  },

  gradient(graph, node) {
    const attributes = node.attributes as SoftCrossEntropyAttributes;
    const [dz, down] = graph.applyAll(
      softCrossEntropyGradient,
      [...node.inputs, node.outputs[1]],
      attributes,
    );
    return [dz, down, undefined, undefined];
  },

  lower(lowering, node, { temperature, targetTemperature, columns }) {
    const [z] = node.inputs;
    const rows = z.shape[0];
    lowering.dispatch({
      label: "soft_cross_entropy rows",
      source: rowsWgsl,
      bindings: [...node.inputs, node.outputs[1]],
      uniforms: uniforms(
        rows,
        padTo4(z.shape[3]) / 4,
        columns,
        f32(1 / temperature),
        f32(1 / targetTemperature),
      ),
      workgroups: [rows, 1, 1],
    });
    lowering.dispatch({
      label: "soft_cross_entropy mean",
      source: meanWgsl,
      bindings: [node.outputs[1], node.outputs[0]],
      uniforms: uniforms(rows),
      workgroups: [1, 1, 1],
    });
  },
};

/** dz [n, 1, 1, k] and down [n, 1, 1, 1]: (p - q) / (n * temperature). */
const softCrossEntropyGradient: Op<SoftCrossEntropyAttributes> = {
  name: "soft_cross_entropy_gradient",

  shape: ([z, own]) => [{ shape: z.shape }, { shape: own.shape }],

  lower(lowering, node, { temperature, targetTemperature, columns }) {
    const [z, own, target, targetOwn, rowState] = node.inputs;
    const rows = z.shape[0];
    const quads = padTo4(z.shape[3]) / 4;
    const scale = 1 / (rows * temperature);
    lowering.dispatch({
      label: "soft_cross_entropy_gradient",
      source: LINEAR_MAIN + gradientWgsl,
      bindings: [z, own, target, targetOwn, rowState, ...node.outputs],
      uniforms: uniforms(rows, quads, columns, f32(1 / temperature), f32(1 / targetTemperature), f32(scale)),
      workgroups: linearWorkgroups(rows * quads, LINEAR_SIZE),
    });
  },
};

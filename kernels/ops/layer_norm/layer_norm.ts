/**
 * Layer normalisation over the last dimension (Ba et al. 2016), as `torch.nn.functional.layer_norm`.
 *
 * A row's mean is subtracted in two steps, the mean as it is in float32 and what rounding took from it, so that a mean much
 * larger than the deviation does not cancel.
 */
import { expectShape, type Lowering, type Node, type Op, rowsAndVec4s, type Tensor } from "../../graph.ts";
import { rowLanes } from "../../row_lanes.ts";
import { cutRows, rowSums } from "../../row_sums.ts";
import {
  CHANNEL_MASK,
  f32,
  LINEAR_MAIN,
  LINEAR_SIZE,
  linearWorkgroups,
  storage,
  uniforms,
  WITH_NAN,
} from "../../wgsl.ts";
import { chunkRows } from "../channel_sum/channel_sum.ts";
import { sumPairs } from "../sum_partials/sum_partials.ts";
import wgsl from "./layer_norm.wgsl" with { type: "text" };
import gradientInputWgsl from "./layer_norm_gradient_input.wgsl" with { type: "text" };
import gradientSumsWgsl from "./layer_norm_gradient_sums.wgsl" with { type: "text" };

/** Attributes of {@linkcode layerNorm}. */
export interface LayerNormAttributes {
  /** Added to the variance. */
  epsilon: number;
}

function sizesOf(x: Tensor): [rows: number, vec4s: number, channels: number] {
  const { rows, vec4s } = rowsAndVec4s(x);
  return [rows, vec4s, x.shape.at(-1)!];
}

/**
 * y = (x - mean) / sqrt(variance + epsilon) * weight + bias, with the mean and the biased variance of each row: inputs
 * x [..., c], weight [c], bias [c]. A second output is for the gradient: [rows, 3], of each row its mean, what the mean lacks
 * by rounding, and one over its deviation.
 */
export const layerNorm: Op<LayerNormAttributes> = {
  name: "layer_norm",

  shape(inputs) {
    const [x, weight, bias] = inputs;
    const channels = x.shape.at(-1);
    expectShape(
      "layer_norm",
      inputs.length === 3 && [weight, bias].every(({ shape }) => shape.join() === `${channels}`),
      "x [..., c], weight [c] and bias [c]",
      ...inputs,
    );
    return [{ shape: x.shape }, { shape: [rowsAndVec4s(x).rows, 3] }];
  },

  gradient(graph, node, [dy], needed) {
    const [x, weight] = node.inputs;
    const statistics = node.outputs[1];
    const dx = needed[0]
      ? graph.apply(layerNormInputGradient, [x, weight, statistics, dy!], { addend: false })
      : undefined;
    if (!needed[1] && !needed[2]) return [dx, undefined, undefined];
    return [dx, ...graph.applyAll(layerNormParameterGradient, [x, statistics, dy!], {})];
  },

  lower(lowering, node, { epsilon }) {
    lowering.dispatch({
      label: "layer_norm",
      ...rowLanes(lowering.target, sizesOf(node.inputs[0]), CHANNEL_MASK + WITH_NAN + wgsl, "epsilon: f32", [
        f32(epsilon),
      ]),
      bindings: [...node.inputs, ...node.outputs],
    });
  },
};

/**
 * dx = (g - mean(g) - xhat * mean(g * xhat)) / deviation + addend?, g = dy * weight and means over a row: inputs x, weight,
 * statistics, dy, addend?.
 */
const layerNormInputGradient: Op<{ addend: boolean }> = {
  name: "layer_norm_gradient",

  shape: ([x]) => [{ shape: x.shape }],

  fuseAdd(graph, { inputs, attributes }, addend) {
    if ((attributes as { addend: boolean }).addend) return undefined;
    return graph.apply(layerNormInputGradient, [...inputs, addend], { addend: true });
  },

  lower(lowering, node, { addend }) {
    const declarations = (addend ? storage(5, "addend") : "") + storage(addend ? 6 : 5, "dx", "read_write");
    lowering.dispatch({
      label: "layer_norm_gradient input",
      ...rowLanes(
        lowering.target,
        sizesOf(node.inputs[0]),
        CHANNEL_MASK + declarations +
          gradientInputWgsl.replace("/* + addend */", addend ? " + addend[row + q]" : ""),
      ),
      bindings: [...node.inputs, ...node.outputs],
    });
  },
};

/** dweight = sum over rows of dy * xhat, dbias = sum over rows of dy: inputs x, statistics, dy. */
const layerNormParameterGradient: Op<Record<never, never>> = {
  name: "layer_norm_parameter_gradient",

  shape([x]) {
    const shape = [x.shape.at(-1)!];
    return [{ shape }, { shape }];
  },

  lower: lowerParameterGradient,
};

function lowerParameterGradient(lowering: Lowering, { inputs, outputs: [dweight, dbias] }: Node): void {
  const [rows, vec4s, channels] = sizesOf(inputs[0]);
  const parts = cutRows(rows, vec4s);
  const { perChunk, chunks } = lowering.target.isSoftware
    ? chunkRows(rows)
    : { perChunk: parts.perPart, chunks: parts.parts };
  const partial = lowering.scratch({ shape: [chunks, 2, channels] }, "partial gradient sums");
  lowering.dispatch({
    label: "layer_norm_gradient sums",
    ...lowering.target.isSoftware
      ? {
        source: LINEAR_MAIN + gradientSumsWgsl,
        uniforms: uniforms(rows, vec4s, perChunk, chunks),
        workgroups: linearWorkgroups(chunks * vec4s, LINEAR_SIZE),
      }
      : rowSums(rows, vec4s, parts, {
        declarations: storage(1, "x") + storage(2, "statistics") + storage(3, "dy") +
          storage(4, "partial", "read_write"),
        sums: ["with_xhat", "alone"],
        add: `let s = statistics[this_row]; let d = dy[at];
      alone += d; with_xhat += d * ((x[at] - s.x - s.y) * s.z);`,
        store: `partial[part * 2u * p.vec4s + vec4_index] = with_xhat;
    partial[(part * 2u + 1u) * p.vec4s + vec4_index] = alone;`,
      }),
    bindings: [...inputs, partial],
  });
  sumPairs(lowering, "layer_norm_gradient totals", partial, chunks, [dweight, dbias]);
}

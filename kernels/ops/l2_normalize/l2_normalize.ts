/** L2 normalisation of rows, as `torch.nn.functional.normalize`. */
import { type Op, rowsAndVec4s } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms, WITH_NAN } from "../../wgsl.ts";
import wgsl from "./l2_normalize.wgsl" with { type: "text" };
import gradientWgsl from "./l2_normalize_gradient.wgsl" with { type: "text" };

/** x [..., d] -> x / max(|x|, 1e-12), |x| over the last dimension. */
export const l2Normalize: Op<Record<never, never>> = {
  name: "l2_normalize",

  shape: ([x]) => [{ shape: x.shape }],

  gradient: (graph, node, [dy]) => [graph.apply(l2NormalizeGradient, [node.inputs[0], dy!], {})],

  lower(lowering, node) {
    const { rows, vec4s } = rowsAndVec4s(node.inputs[0]);
    lowering.dispatch({
      label: "l2_normalize",
      source: LINEAR_MAIN + WITH_NAN + wgsl,
      bindings: [node.inputs[0], node.outputs[0]],
      uniforms: uniforms(rows, vec4s),
      workgroups: linearWorkgroups(rows, LINEAR_SIZE),
    });
  },
};

/** dx = (dy - y (y . dy)) / |x|, from x and dy. */
const l2NormalizeGradient: Op<Record<never, never>> = {
  name: "l2_normalize_gradient",

  shape: ([x]) => [{ shape: x.shape }],

  lower(lowering, node) {
    const { rows, vec4s } = rowsAndVec4s(node.inputs[0]);
    lowering.dispatch({
      label: "l2_normalize_gradient",
      source: LINEAR_MAIN + WITH_NAN + gradientWgsl,
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: uniforms(rows, vec4s),
      workgroups: linearWorkgroups(rows, LINEAR_SIZE),
    });
  },
};

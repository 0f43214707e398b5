/** Gated feed-forward layers (Shazeer 2020, "GLU variants improve Transformer"). */
import { expectShape, type Lowering, type Node, type Op, rowsAndVec4s, type Tensor } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import { activationWgsl } from "../activation/activation.ts";
import wgsl from "./gated_activation.wgsl" with { type: "text" };
import gradientWgsl from "./gated_activation_gradient.wgsl" with { type: "text" };
import pairWgsl from "./gated_pair.wgsl" with { type: "text" };
import pairGradientWgsl from "./gated_pair_gradient.wgsl" with { type: "text" };

/** One invocation for a vec4 of the result; `like` has its shape. */
function lower(lowering: Lowering, { op, inputs, outputs }: Node, like: Tensor, source: string): void {
  const { rows, vec4s } = rowsAndVec4s(like);
  lowering.dispatch({
    label: op.name,
    source: LINEAR_MAIN + activationWgsl("swish") + source,
    bindings: [...inputs, ...outputs],
    uniforms: uniforms(rows, vec4s),
    workgroups: linearWorkgroups(rows * vec4s, LINEAR_SIZE),
  });
}

/**
 * x [..., 2h] -> [..., h]: SiLU of the first half times the second half; 4 divides h. Or the halves apart, gate and value
 * [..., h], as products give them: there is no pass that puts them side by side.
 */
export const swiglu: Op<Record<never, never>> = {
  name: "swiglu",

  shape([x, value]) {
    if (value !== undefined) {
      expectShape(
        "swiglu",
        x.shape.join() === value.shape.join(),
        "a gate and a value of one shape",
        x,
        value,
      );
      return [{ shape: x.shape }];
    }
    const both = x.shape.at(-1)!;
    expectShape("swiglu", both % 8 === 0, "two halves of a multiple of four channels", x);
    return [{ shape: x.shape.with(-1, both / 2) }];
  },

  gradient: (graph, node, [dy]) => graph.applyAll(swigluGradient, [...node.inputs, dy!], {}),

  lower: (lowering, node) =>
    lower(lowering, node, node.outputs[0], node.inputs.length === 2 ? pairWgsl : wgsl),
};

/** dx [..., 2h] from x and dy, or those of gate and value from both and dy. */
const swigluGradient: Op<Record<never, never>> = {
  name: "swiglu_gradient",
  shape: (inputs) => inputs.slice(0, -1).map(({ shape }) => ({ shape })),
  lower: (lowering, node) =>
    lower(lowering, node, node.inputs.at(-1)!, node.inputs.length === 3 ? pairGradientWgsl : gradientWgsl),
};

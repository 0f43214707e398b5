/** Gated feed-forward layers (Shazeer 2020, "GLU variants improve Transformer"). */
import { expectShape, type Lowering, type Node, type Op, rowsAndVec4s, type Tensor } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import { activationWgsl } from "../activation/activation.ts";
import wgsl from "./gated_activation.wgsl" with { type: "text" };
import gradientWgsl from "./gated_activation_gradient.wgsl" with { type: "text" };

/** One invocation for a vec4 of each half; `halved` is a tensor [..., h]. */
function lower(lowering: Lowering, { op, inputs, outputs }: Node, halved: Tensor, source: string): void {
  const { rows, vec4s } = rowsAndVec4s(halved);
  lowering.dispatch({
    label: op.name,
    source: LINEAR_MAIN + activationWgsl("swish") + source,
    bindings: [...inputs, ...outputs],
    uniforms: uniforms(rows, vec4s),
    workgroups: linearWorkgroups(rows * vec4s, LINEAR_SIZE),
  });
}

/** x [..., 2h] -> [..., h]: SiLU of the first half times the second half; 4 divides h. */
export const swiglu: Op<Record<never, never>> = {
  name: "swiglu",

  shape([x]) {
    const both = x.shape.at(-1)!;
    expectShape("swiglu", both % 8 === 0, "two halves of a multiple of four channels", x);
    return [{ shape: x.shape.with(-1, both / 2) }];
  },

  gradient: (graph, node, [dy]) => [graph.apply(swigluGradient, [node.inputs[0], dy!], {})],

  lower: (lowering, node) => lower(lowering, node, node.outputs[0], wgsl),
};

/** dx [..., 2h] from x and dy. */
const swigluGradient: Op<Record<never, never>> = {
  name: "swiglu_gradient",
  shape: ([x]) => [{ shape: x.shape }],
  lower: (lowering, node) => lower(lowering, node, node.inputs[1], gradientWgsl),
};

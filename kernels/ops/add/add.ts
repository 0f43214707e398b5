/** Sum of two tensors of one shape. */
import { expectShape, type Op, paddedCount } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./add.wgsl" with { type: "text" };

/** y = a + b. */
export const add: Op<Record<never, never>> = {
  name: "add",
  keepsFloat32: "as inputs",

  shape([a, b]) {
    expectShape("add", a.shape.join() === b.shape.join(), "two tensors of one shape", a, b);
    return [{ shape: a.shape }];
  },

  endsBlock: () => true,

  gradient: (_graph, _node, [dy]) => [dy, dy],

  lower(lowering, node) {
    const vec4s = paddedCount(node.outputs[0]) / 4;
    lowering.dispatch({
      label: "add",
      source: LINEAR_MAIN + wgsl,
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: uniforms(vec4s),
      workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
    });
  },
};

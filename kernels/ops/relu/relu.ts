/** The gradient of a ReLU that another op applied in its epilogue. */
import { expectShape, type Op, paddedCount } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./relu_gradient.wgsl" with { type: "text" };

/** dz = dy where y > 0, else 0; y is the ReLU's output. */
export const reluGradient: Op<Record<never, never>> = {
  name: "relu_gradient",

  shape([dy, y]) {
    expectShape("relu_gradient", dy.shape.join() === y.shape.join(), "dy and y of one shape", dy, y);
    return [{ shape: dy.shape }];
  },

  lower(lowering, node) {
    const quads = paddedCount(node.outputs[0]) / 4;
    lowering.dispatch({
      label: "relu_gradient",
      source: LINEAR_MAIN + wgsl,
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: uniforms(quads),
      workgroups: linearWorkgroups(quads, LINEAR_SIZE),
    });
  },
};

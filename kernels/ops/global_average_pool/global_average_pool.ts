/** Mean over all pixels of a picture. */
import { expectShape, type Op, padTo4 } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./global_average_pool.wgsl" with { type: "text" };
import gradientWgsl from "./global_average_pool_gradient.wgsl" with { type: "text" };

/** x [n, h, w, c] -> [n, 1, 1, c]. */
export const globalAveragePool: Op<Record<never, never>> = {
  name: "global_average_pool",

  shape([x]) {
    expectShape("global_average_pool", x.shape.length === 4, "x [n, h, w, c]", x);
    return [{ shape: [x.shape[0], 1, 1, x.shape[3]] }];
  },

  gradient(graph, node, [dy]) {
    return [graph.apply(globalAveragePoolGradient, [dy!], { like: node.inputs[0].shape })];
  },

  lower(lowering, node) {
    const [n, h, w, c] = node.inputs[0].shape;
    lowering.dispatch({
      label: "global_average_pool",
      source: LINEAR_MAIN + wgsl,
      bindings: [node.inputs[0], node.outputs[0]],
      uniforms: uniforms(n, h * w, padTo4(c) / 4),
      workgroups: linearWorkgroups(n * padTo4(c) / 4, LINEAR_SIZE),
    });
  },
};

/** dx [n, h, w, c] from dy [n, 1, 1, c]: dy / (h * w) everywhere. */
const globalAveragePoolGradient: Op<{ like: readonly number[] }> = {
  name: "global_average_pool_gradient",

  shape: (_inputs, { like }) => [{ shape: like }],

  lower(lowering, node, { like: [n, h, w, c] }) {
    lowering.dispatch({
      label: "global_average_pool_gradient",
      source: LINEAR_MAIN + gradientWgsl,
      bindings: [node.inputs[0], node.outputs[0]],
      uniforms: uniforms(n, h * w, padTo4(c) / 4),
      workgroups: linearWorkgroups(n * h * w * padTo4(c) / 4, LINEAR_SIZE),
    });
  },
};

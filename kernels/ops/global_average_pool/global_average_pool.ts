/** Mean over all pixels of an image. */
import { expectShape, type Op, padTo4 } from "../../graph.ts";
import { PIXEL_STRIPS, pixelStrips } from "../../pixel_strips.ts";
import { cutImages, imageSums } from "../../row_sums.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, storage, uniforms } from "../../wgsl.ts";
import { sumInParts } from "../sum_partials/sum_partials.ts";
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
    const [x] = node.inputs;
    const [y] = node.outputs;
    const [n, h, w, c] = x.shape;
    const [pixels, vec4s] = [h * w, padTo4(c) / 4];
    if (lowering.target.isSoftware) {
      lowering.dispatch({
        label: "global_average_pool",
        source: LINEAR_MAIN + wgsl,
        uniforms: uniforms(n, pixels, vec4s),
        workgroups: linearWorkgroups(n * vec4s, LINEAR_SIZE),
        bindings: [x, y],
      });
      return;
    }
    const parts = cutImages(n, pixels, vec4s);
    sumInParts(lowering, parts.ofImage, y, "partial means", (means) =>
      lowering.dispatch({
        label: "global_average_pool",
        ...imageSums(n, pixels, vec4s, parts, {
          declarations: storage(1, "x") + storage(2, "y", "read_write"),
          sums: ["sum"],
          add: "sum += x[at];",
          store: "y[sum_at] = sum / f32(p.per_part * p.of_image);",
        }),
        bindings: [x, means],
      }));
  },
};

/** Attributes of the gradient: the shape of x. */
interface GradientAttributes {
  like: readonly number[];
  /** A second input is added to the result. */
  addend?: boolean;
}

/** dx [n, h, w, c] from dy [n, 1, 1, c]: dy / (h * w) everywhere, plus an addend. */
const globalAveragePoolGradient: Op<GradientAttributes> = {
  name: "global_average_pool_gradient",

  shape: (_inputs, { like }) => [{ shape: like }],

  fuseAdd(graph, node, addend) {
    const attributes = node.attributes as GradientAttributes;
    if (attributes.addend) return undefined;
    const inputs = [...node.inputs, addend];
    return graph.apply(globalAveragePoolGradient, inputs, { ...attributes, addend: true });
  },

  lower(lowering, node, { like: [n, h, w, c], addend }) {
    const { words, workgroups } = pixelStrips(lowering.target, n, h * w, padTo4(c) / 4);
    const [dy, ...added] = node.inputs;
    lowering.dispatch({
      label: "global_average_pool_gradient",
      source: LINEAR_MAIN + PIXEL_STRIPS + (addend ? storage(3, "addend") : "") +
        gradientWgsl.replace("/* addend */", addend ? "+ addend[at]" : ""),
      bindings: [dy, node.outputs[0], ...added],
      uniforms: uniforms(...words),
      workgroups,
    });
  },
};

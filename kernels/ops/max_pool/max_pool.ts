/**
 * Max pooling with square windows; of equal values in a window the first wins, and a NaN over any number (of several the
 * last), as in PyTorch.
 */
import { expectShape, type Op, padTo4 } from "../../graph.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms, WITH_NAN } from "../../wgsl.ts";
import wgsl from "./max_pool.wgsl" with { type: "text" };
import gradientWgsl from "./max_pool_gradient.wgsl" with { type: "text" };

/** Attributes of {@linkcode maxPool}. */
export interface MaxPoolAttributes {
  /** Side of the window, at most 16 (its taps must fit a byte). */
  kernel: number;
  /** Stride in both directions. */
  stride: number;
  /** Padding on every side; padded positions never win. */
  padding: number;
}

/** x [n, h, w, c] -> y [n, ho, wo, c], and which tap won, one byte a channel: u32 [n, ho, wo, c / 4]. */
export const maxPool: Op<MaxPoolAttributes> = {
  name: "max_pool",

  shape([x], { kernel, stride, padding }) {
    expectShape("max_pool", x.shape.length === 4 && kernel <= 16, "x [n, h, w, c], kernel <= 16", x);
    const [n, h, w, c] = x.shape;
    const pooled = (length: number) => Math.floor((length + 2 * padding - kernel) / stride) + 1;
    const shape = [n, pooled(h), pooled(w), c];
    expectShape(
      "max_pool",
      shape[1] > 0 && shape[2] > 0,
      `an image that with its padding of ${padding} is no smaller than the kernel of ${kernel}`,
      x,
    );
    return [{ shape }, { shape: shape.with(3, padTo4(c) / 4), dtype: "u32" }];
  },

  gradient(graph, node, [dy]) {
    const attributes = node.attributes as MaxPoolAttributes;
    const [x] = node.inputs;
    return [graph.apply(maxPoolGradient, [dy!, node.outputs[1]], { ...attributes, like: x.shape })];
  },

  lower(lowering, node, attributes) {
    const [x] = node.inputs;
    const [, ho, wo] = node.outputs[0].shape;
    lowering.dispatch({
      label: "max_pool",
      source: LINEAR_MAIN + WITH_NAN + wgsl,
      bindings: [x, ...node.outputs],
      uniforms: poolUniforms(x.shape, ho, wo, attributes),
      workgroups: linearWorkgroups(x.shape[0] * ho * wo * padTo4(x.shape[3]) / 4, LINEAR_SIZE),
    });
  },
};

/** dx [n, h, w, c] from dy and the taps that won: every input pixel gathers from the windows it won. */
const maxPoolGradient: Op<MaxPoolAttributes & { like: readonly number[] }> = {
  name: "max_pool_gradient",

  shape: (_inputs, { like }) => [{ shape: like }],

  lower(lowering, node, { like, ...attributes }) {
    const [dy] = node.inputs;
    const [n, h, w, c] = like;
    lowering.dispatch({
      label: "max_pool_gradient",
      source: LINEAR_MAIN + gradientWgsl,
      bindings: [...node.inputs, node.outputs[0]],
      uniforms: poolUniforms(like, dy.shape[1], dy.shape[2], attributes),
      workgroups: linearWorkgroups(n * h * w * padTo4(c) / 4, LINEAR_SIZE),
    });
  },
};

function poolUniforms(
  like: readonly number[],
  ho: number,
  wo: number,
  attributes: MaxPoolAttributes,
): Uint32Array {
  const [n, h, w, c] = like;
  return uniforms(n, h, w, padTo4(c) / 4, ho, wo, attributes.kernel, attributes.stride, attributes.padding);
}

/** Dropout (Srivastava et al. 2014) and drop-connect, as EfficientNet calls stochastic depth (Huang et al. 2016). */
import { expectShape, type Op, paddedCount } from "../../graph.ts";
import { f32, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, storage, uniforms } from "../../wgsl.ts";
import wgsl from "./dropout.wgsl" with { type: "text" };

/** Attributes of {@linkcode dropout}. */
export interface DropoutAttributes {
  /** Share that is dropped, in [0, 1). */
  rate: number;
  /** What is dropped or kept together: single values, or all of a sample (the first dimension). */
  granularity: "element" | "sample";
  /** Tells the layers of a model apart, which share a seed. */
  salt: number;
  /** A third input like x is added to the result: a block's shortcut. */
  residual?: boolean;
}

/**
 * y = x * mask / (1 - rate) + residual?, mask 0 or 1. Inputs x [n, ...], seed u32 [2], residual?.
 *
 * The mask is a hash of the seed, the salt and the index, so that it is made again, and not stored, for the gradient.
 * The host writes another seed for every step.
 */
export const dropout: Op<DropoutAttributes> = {
  name: "dropout",

  shape([x, seed, ...extra], { rate, residual = false }) {
    expectShape("dropout", seed.dtype === "u32" && seed.shape.join() === "2", "a seed of two u32", seed);
    const fits = extra.length === Number(residual) &&
      extra.every(({ shape }) => shape.join() === x.shape.join());
    expectShape("dropout", fits, "x, seed, and a residual like x, if any", x, seed, ...extra);
    if (!(rate >= 0 && rate < 1)) throw new Error(`dropout: the rate must be in [0, 1), found ${rate}`);
    return [{ shape: x.shape }];
  },

  endsBlock: ({ residual = false }) => residual,

  gradient(graph, node, [dy]) {
    const attributes = node.attributes as DropoutAttributes;
    const dx = graph.apply(dropout, [dy!, node.inputs[1]], { ...attributes, residual: false });
    return [dx, undefined, ...attributes.residual ? [dy] : []];
  },

  lower(lowering, node, { rate, granularity, salt, residual = false }) {
    const [x, seed, ...extra] = node.inputs;
    const vec4s = paddedCount(x) / 4;
    const prelude = `const PER_SAMPLE = ${granularity === "sample"};\n` +
      (residual ? storage(4, "residual") : "");
    lowering.dispatch({
      label: "dropout",
      source: LINEAR_MAIN + prelude + wgsl.replace("/* residual */", residual ? "+ residual[i]" : ""),
      bindings: [x, seed, node.outputs[0], ...extra],
      // A value is dropped where 24 random bits are below this.
      uniforms: uniforms(vec4s, vec4s / x.shape[0], Math.round(rate * 2 ** 24), f32(1 / (1 - rate)), salt),
      workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
    });
  },
};

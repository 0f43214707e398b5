/** Adam with decoupled weight decay (Loshchilov and Hutter 2019), as `torch.optim.AdamW`, over a whole arena at once. */
import { expectShape, type Op, paddedCount } from "../../graph.ts";
import { f32, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import wgsl from "./adamw.wgsl" with { type: "text" };

/** Attributes of {@linkcode adamw}. */
export interface AdamWAttributes {
  /** Decay rates of the two moments. */
  betas: readonly [number, number];
  /** Added to the root of the second moment. */
  epsilon: number;
  weightDecay: number;
}

/** Of a beta of 0 it would be infinite, which a kernel need not know; a small one's powers are as good as 0. */
function logOf(beta: number): number {
  return Math.log(Math.max(beta, 1e-30));
}

/**
 * m = beta1 m + (1 - beta1) gradient; v = beta2 v + (1 - beta2) gradient^2;
 * w = (1 - rate * weightDecay) w - rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon).
 *
 * Inputs: w, gradient, m, v, the learning rate [1], and the step's control (`stepControl`), which counts the steps t and
 * says what gradients are multiplied by. The moments start from zeros.
 */
export const adamw: Op<AdamWAttributes> = {
  name: "adamw",
  hasEffect: true,

  shape(inputs) {
    const [weights, ...others] = inputs.slice(0, 4);
    const fits = inputs.length === 6 && others.every((other) => paddedCount(other) === paddedCount(weights));
    expectShape("adamw", fits, "weights, gradients and two moments of one size", ...inputs.slice(0, 4));
    return [];
  },

  lower(lowering, node, { betas: [beta1, beta2], epsilon, weightDecay }) {
    const vec4s = paddedCount(node.inputs[0]) / 4;
    // What a beta leaves of 1 is taken before it is rounded: 1 - 0.999 in float32 is off by 1.3e-5.
    const factors = [1 - beta1, beta2, 1 - beta2, logOf(beta1), logOf(beta2), epsilon, weightDecay];
    lowering.dispatch({
      label: "adamw",
      source: LINEAR_MAIN + wgsl,
      bindings: node.inputs,
      uniforms: uniforms(vec4s, ...factors.map(f32)),
      workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
    });
  },
};

/** Stochastic gradient descent with momentum and weight decay, as `torch.optim.SGD`, over a whole arena at once. */
import { expectShape, type Op, paddedCount } from "../../graph.ts";
import { fitsTexture, isTextureWorthwhile } from "../../texture_operand.ts";
import { f32, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, storage, uniforms } from "../../wgsl.ts";
import wgsl from "./sgd.wgsl" with { type: "text" };

const UNSCALED = `
fn is_applied() -> bool { return true; }
fn unscaled(gradient: vec4<f32>) -> vec4<f32> { return gradient; }
`;

const SCALED = `
fn is_applied() -> bool { return loss_scale[1].x != 0.0; }
fn unscaled(gradient: vec4<f32>) -> vec4<f32> { return gradient * loss_scale[1].y; }
`;

/** Attributes of {@linkcode sgd}. */
export interface SgdAttributes {
  momentum: number;
  weightDecay: number;
}

/**
 * v = momentum * v + (gradient + weightDecay * w); w = w - rate * v. Inputs: w, gradient, v, the learning rate [1],
 * which changes from step to step, and where the gradients are scaled, the state of loss scaling. Momentum starts from
 * zeros, which gives PyTorch's first step.
 */
export const sgd: Op<SgdAttributes> = {
  name: "sgd",
  hasEffect: true,

  shape([weights, gradients, velocity]) {
    const fits = paddedCount(weights) === paddedCount(gradients) &&
      paddedCount(weights) === paddedCount(velocity);
    expectShape("sgd", fits, "weights, gradients and momentum of one size", weights, gradients, velocity);
    return [];
  },

  lower(lowering, node, { momentum, weightDecay }) {
    const [weights, , velocity, , lossScale] = node.inputs;
    const vec4s = paddedCount(weights) / 4;
    const { target } = lowering;
    // A buffer that is written cannot be bound for reading too, but a copy of it can: two more textures, and two inputs less.
    const isCopied = isTextureWorthwhile(target, vec4s) && fitsTexture(target, weights) &&
      target.maxStorageTexturesPerShaderStage >= node.inputs.length;
    const bindings = isCopied ? [...node.inputs, weights, velocity] : node.inputs;
    const copies = node.inputs.length + 1;
    lowering.dispatch({
      label: "sgd",
      source: LINEAR_MAIN + (lossScale === undefined ? UNSCALED : storage(5, "loss_scale") + SCALED) +
        (isCopied
          ? storage(copies, "weights_before") + storage(copies + 1, "velocity_before") + wgsl
          : wgsl.replaceAll("_before", "")),
      bindings,
      uniforms: uniforms(vec4s, f32(momentum), f32(weightDecay)),
      workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
    });
  },
};

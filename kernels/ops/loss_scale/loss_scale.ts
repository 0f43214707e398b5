/**
 * Loss scaling for mixed precision (Micikevicius et al. 2018), by the rule of `torch.amp.GradScaler`: the loss's gradient
 * is multiplied by a scale so that what follows from it does not vanish in float16. A step whose gradients overflow is
 * skipped and makes the scale smaller, many good steps in a row make it larger. All of it stays on the device.
 */
import type { Target } from "../../gpu.ts";
import { type Graph, type Op, paddedCount, type Tensor } from "../../graph.ts";
import { ARE_FINITE, f32, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import findWgsl from "./find_overflow.wgsl" with { type: "text" };
import scaleWgsl from "./scale_gradient.wgsl" with { type: "text" };
import updateWgsl from "./update.wgsl" with { type: "text" };

/** State of loss scaling. */
export interface LossScale {
  /** Factor of the loss's gradient. */
  scale: number;
  /** Steps without an overflow since the scale changed. */
  goodSteps: number;
  /** Steps skipped so far. */
  skipped: number;
}

/** What `torch.amp.GradScaler` starts with. */
export const INITIAL_LOSS_SCALE: LossScale = { scale: 2 ** 16, goodSteps: 0, skipped: 0 };

/** How the scale changes. */
export interface LossScaleRule {
  /** Factor after so many good steps in a row. */
  growth: number;
  /** Those. */
  growthInterval: number;
  /** Factor after a step that overflowed. */
  backoff: number;
}

/** The rule of `torch.amp.GradScaler`. */
export const GRAD_SCALER: LossScaleRule = { growth: 2, growthInterval: 2000, backoff: 0.5 };

/** Leaves the scale as it is, so that steps are skipped and nothing else. */
export const FIXED_SCALE: LossScaleRule = { growth: 1, growthInterval: 1, backoff: 1 };

/** Where gradients are not scaled, but looked at all the same. */
export const NO_SCALE: LossScale = { scale: 1, goodSteps: 0, skipped: 0 };

/**
 * A source tensor for what decides how a step's gradients are applied, to be bound, [8]: the scale, good steps, skipped
 * steps, steps that changed the weights; then of the step under way whether its gradients can be applied (1 or 0), what
 * they are to be multiplied by, their norm where it was asked for, 0.
 */
export function stepControl(graph: Graph): Tensor {
  return graph.source("step control", [8]);
}

/** Where {@linkcode stepControl} has the steps that changed the weights, in bytes. */
export const STEPS_OFFSET = 3 * 4;

/** What {@linkcode stepControl} holds before a step; `steps` have changed the weights before. */
export function packStepControl(
  { scale, goodSteps, skipped }: LossScale,
  steps = 0,
): Float32Array<ArrayBuffer> {
  return Float32Array.of(scale, goodSteps, skipped, steps, 1, 1 / scale, 0, 0);
}

/** What {@linkcode stepControl} says after a step. */
export interface StepControl {
  lossScale: LossScale;
  /** Steps that changed the weights so far. */
  steps: number;
  /** Whether the step's gradients were finite, and it changed the weights. */
  isApplied: boolean;
}

/** Reads what {@linkcode stepControl} held after a step. */
export function unpackStepControl(state: ArrayLike<number>): StepControl {
  const [scale, goodSteps, skipped, steps, applied] = Array.from(state);
  return { lossScale: { scale, goodSteps, skipped }, steps, isApplied: applied !== 0 };
}

/** gradient * scale, like the gradient. Inputs: the gradient, the step's control. */
export const scaleGradient: Op<Record<never, never>> = {
  name: "scale_gradient",

  shape: ([gradient]) => [{ shape: gradient.shape }],

  lower(lowering, node) {
    const vec4s = paddedCount(node.inputs[0]) / 4;
    lowering.dispatch({
      label: "scale_gradient",
      source: LINEAR_MAIN + scaleWgsl,
      bindings: [...node.inputs, ...node.outputs],
      uniforms: uniforms(vec4s),
      workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
    });
  },
};

/** Workgroups that reduce a tensor to one number each: on GPUs as many as keep its memory busy. */
export function searchersOn({ isSoftware }: Target): number {
  return isSoftware ? 64 : 1024;
}

/**
 * Looks for infinities and NaN in gradients, and brings the control up to date. Inputs: the step's control, and any
 * number of tensors of gradients.
 */
export const updateLossScale: Op<LossScaleRule> = {
  name: "update_loss_scale",
  hasEffect: true,

  shape: () => [],

  lower(lowering, node, { growth, growthInterval, backoff }) {
    const [state, ...gradients] = node.inputs;
    const searchers = searchersOn(lowering.target);
    const found = lowering.scratch({ shape: [gradients.length, searchers, 4] }, "overflows found");
    for (const [i, tensor] of gradients.entries()) {
      lowering.dispatch({
        label: "find_overflow",
        source: ARE_FINITE + findWgsl,
        bindings: [tensor, gradients.length === 1 ? found : lowering.rows(found, i, 1)],
        uniforms: uniforms(paddedCount(tensor) / 4, searchers),
        workgroups: [searchers, 1, 1],
      });
    }
    lowering.dispatch({
      label: "update_loss_scale",
      source: updateWgsl,
      bindings: [found, state],
      uniforms: uniforms(gradients.length * searchers, f32(growth), f32(backoff), f32(growthInterval)),
      workgroups: [1, 1, 1],
    });
  },
};

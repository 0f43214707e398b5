/** Clips gradients by their norm, as `torch.nn.utils.clip_grad_norm_` does, without touching them. */
import { type Op, paddedCount } from "../../graph.ts";
import { f32, uniforms } from "../../wgsl.ts";
import { searchersOn } from "../loss_scale/loss_scale.ts";
import rowReduceWgsl from "../../row_reduce.wgsl" with { type: "text" };
import clipWgsl from "./clip.wgsl" with { type: "text" };
import sumWgsl from "./sum_of_squares.wgsl" with { type: "text" };

/** Attributes of {@linkcode clipGradients}. */
export interface ClipAttributes {
  /** L2 norm of all gradients together that is not exceeded. */
  maxNorm: number;
}

/**
 * What the step's control says that gradients are multiplied by becomes min(1, maxNorm / (norm + 1e-6)) times that. Inputs:
 * the control (`stepControl`), which the step's `updateLossScale` has brought up to date, and any number of tensors of
 * gradients. Where they are not finite no step is taken, whatever the factor.
 */
export const clipGradients: Op<ClipAttributes> = {
  name: "clip_gradients",
  hasEffect: true,

  shape: () => [],

  lower(lowering, node, { maxNorm }) {
    const [control, ...gradients] = node.inputs;
    const groups = searchersOn(lowering.target);
    const found = lowering.scratch({ shape: [gradients.length, groups, 4] }, "sums of squares");
    for (const [i, tensor] of gradients.entries()) {
      lowering.dispatch({
        label: "sum_of_squares",
        source: rowReduceWgsl + sumWgsl,
        bindings: [tensor, control, gradients.length === 1 ? found : lowering.rows(found, i, 1)],
        uniforms: uniforms(paddedCount(tensor) / 4, groups),
        workgroups: [groups, 1, 1],
      });
    }
    lowering.dispatch({
      label: "clip_gradients",
      source: rowReduceWgsl + clipWgsl,
      bindings: [found, control],
      uniforms: uniforms(gradients.length * groups, f32(maxNorm)),
      workgroups: [1, 1, 1],
    });
  },
};

/** LayerScale and the residual behind it (Touvron et al. 2021, "Going deeper with image transformers"). */
import { expectShape, type Op, rowsAndVec4s } from "../../graph.ts";
import { cutRows, rowSums } from "../../row_sums.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, storage, uniforms } from "../../wgsl.ts";
import { chunkRows } from "../channel_sum/channel_sum.ts";
import { sumInParts } from "../sum_partials/sum_partials.ts";
import wgsl from "./scaled_residual.wgsl" with { type: "text" };
import gradientWgsl from "./scaled_residual_gradient.wgsl" with { type: "text" };

/** y = residual + gamma * x: inputs x [..., c], gamma [c], residual like x. */
export const scaledResidual: Op<Record<never, never>> = {
  name: "scaled_residual",

  shape(inputs) {
    const [x, gamma, residual] = inputs;
    expectShape(
      "scaled_residual",
      inputs.length === 3 && gamma.shape.join() === `${x.shape.at(-1)}` &&
        residual.shape.join() === x.shape.join(),
      "x [..., c], gamma [c] and a residual like x",
      ...inputs,
    );
    return [{ shape: x.shape }];
  },

  endsBlock: () => true,

  gradient(graph, { inputs: [x, gamma] }, [dy], needed) {
    const scaled = needed[0] || needed[1] ? graph.applyAll(scaledResidualGradient, [x, gamma, dy!], {}) : [];
    return [scaled[0], scaled[1], dy];
  },

  lower(lowering, { inputs, outputs: [y] }) {
    const { rows, vec4s } = rowsAndVec4s(y);
    lowering.dispatch({
      label: "scaled_residual",
      source: LINEAR_MAIN + wgsl,
      bindings: [...inputs, y],
      uniforms: uniforms(rows * vec4s, vec4s),
      workgroups: linearWorkgroups(rows * vec4s, LINEAR_SIZE),
    });
  },
};

/** dx = dy * gamma, dgamma = sum over rows of dy * x, in one pass: inputs x, gamma, dy. */
const scaledResidualGradient: Op<Record<never, never>> = {
  name: "scaled_residual_gradient",

  shape: ([x, gamma]) => [{ shape: x.shape }, { shape: gamma.shape }],

  lower(lowering, { inputs, outputs: [dx, dgamma] }) {
    const { isSoftware } = lowering.target;
    const { rows, vec4s } = rowsAndVec4s(dx);
    const parts = cutRows(rows, vec4s);
    const { perChunk, chunks } = chunkRows(rows);
    sumInParts(
      lowering,
      isSoftware ? chunks : parts.parts,
      dgamma,
      "partial scale gradients",
      (sums) =>
        lowering.dispatch({
          label: "scaled_residual_gradient",
          ...isSoftware
            ? {
              source: LINEAR_MAIN + gradientWgsl,
              uniforms: uniforms(rows, vec4s, perChunk, chunks),
              workgroups: linearWorkgroups(chunks * vec4s, LINEAR_SIZE),
            }
            : rowSums(rows, vec4s, parts, {
              declarations: storage(1, "x") + storage(2, "gamma") + storage(3, "dy") +
                storage(4, "dx", "read_write") + storage(5, "dgamma", "read_write"),
              sums: ["sum"],
              begin: "let factor = gamma[vec4_index];",
              add: `let d = dy[at];
      if (own < p.vec4s) { dx[at] = d * factor; }
      sum += d * x[at];`,
              store: "dgamma[part * p.vec4s + vec4_index] = sum;",
            }),
          bindings: [...inputs, dx, sums],
        }),
    );
  },
};

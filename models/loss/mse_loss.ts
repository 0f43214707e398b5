/** Squared L2 distance of normalised embeddings (Fang et al. 2021, "l2-distance" among the distillation strategies). */
import type { Graph, Tensor } from "../../kernels/graph.ts";
import { add } from "../../kernels/ops/add/add.ts";
import { affine } from "../../kernels/ops/affine/affine.ts";
import { mean } from "../../kernels/ops/mean/mean.ts";
import { rowDot } from "../../kernels/ops/row_dot/row_dot.ts";
import type { SeedLossInputs } from "./seed_loss.ts";

/**
 * Returns the mean [1] over images of |student - teacher|^2, summed over the embedding's numbers. It is twice
 * {@linkcode cosineLoss}, and so is its gradient. Temperatures and queue have no effect.
 */
export function mseLoss(graph: Graph, { student, teacher }: SeedLossInputs): Tensor {
  const difference = graph.apply(add, [student, graph.apply(affine, [teacher], { scale: -1 })], {});
  return graph.apply(mean, [graph.apply(rowDot, [difference, difference], {})], {});
}

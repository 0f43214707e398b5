/** One minus the cosine similarity of student and teacher, a distillation loss without a queue. */
import type { Graph, Tensor } from "../../kernels/graph.ts";
import { affine } from "../../kernels/ops/affine/affine.ts";
import { mean } from "../../kernels/ops/mean/mean.ts";
import { rowDot } from "../../kernels/ops/row_dot/row_dot.ts";
import type { SeedLossInputs } from "./seed_loss.ts";

/** Returns the mean [1] over images of 1 - cosine. Temperatures and queue have no effect. */
export function cosineLoss(graph: Graph, { student, teacher }: SeedLossInputs): Tensor {
  const cosines = graph.apply(rowDot, [student, teacher], {}); // [n, 1, 1, 1]
  return graph.apply(affine, [graph.apply(mean, [cosines], {})], { scale: -1, shift: 1 });
}

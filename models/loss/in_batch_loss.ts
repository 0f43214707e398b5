/** SEED's loss without a queue: over the teacher embeddings of the batch itself. */
import { UserError } from "../../errors.ts";
import type { Graph, Tensor } from "../../kernels/graph.ts";
import { affine } from "../../kernels/ops/affine/affine.ts";
import { matmulTransposed } from "../../kernels/ops/matmul_transposed/matmul_transposed.ts";
import { mean } from "../../kernels/ops/mean/mean.ts";
import { reshape } from "../../kernels/ops/reshape/reshape.ts";
import { rowDot } from "../../kernels/ops/row_dot/row_dot.ts";
import { logSoftmax, softmax } from "../../kernels/ops/softmax/softmax.ts";
import type { LossInputs } from "./loss_inputs.ts";

/**
 * Returns the mean [1] over images of -sum_j q_j log p_j. Here p is the softmax of the student's similarities to the
 * teacher embeddings of the whole batch, its own among them, divided by `temperature`; q is the teacher's, divided by
 * `teacherTemperature`. Its gradient is that of the Kullback-Leibler divergence of p from q. The queue has no effect.
 *
 * @throws {UserError} if those of the whole batch are not a multiple of 4
 */
export function inBatchLoss(
  graph: Graph,
  { student, teacher, batchTeacher, temperature, teacherTemperature }: LossInputs,
): Tensor {
  const [n, , , d] = batchTeacher.shape;
  if (n % 4 !== 0) {
    throw new UserError(
      `--loss in_batch: expected a multiple of 4 views in a batch, found ${n}; change --batch-size`,
    );
  }
  const keys = graph.apply(reshape, [batchTeacher], { shape: [1, 1, n, d] });
  const logits = (embeddings: Tensor, temperature: number) =>
    graph.apply(affine, [graph.apply(matmulTransposed, [embeddings, keys], {})], { scale: 1 / temperature });
  const targets = graph.apply(softmax, [logits(teacher, teacherTemperature)], {}); // q, [images, 1, 1, n]
  const logs = graph.apply(logSoftmax, [logits(student, temperature)], {}); // log p
  return graph.apply(affine, [graph.apply(mean, [graph.apply(rowDot, [logs, targets], {})], {})], {
    scale: -1,
  });
}

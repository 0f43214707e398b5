/** SEED's loss (Fang et al. 2021, eq. 4 to 6; `builder.py` of the original). */
import type { Graph, Tensor } from "../../kernels/graph.ts";
import { matmulTransposed } from "../../kernels/ops/matmul_transposed/matmul_transposed.ts";
import { rowDot } from "../../kernels/ops/row_dot/row_dot.ts";
import { softCrossEntropy } from "../../kernels/ops/soft_cross_entropy/soft_cross_entropy.ts";

/** What {@linkcode seedLoss} needs. */
export interface SeedLossInputs {
  /** L2-normalised student embeddings [n, 1, 1, d]. */
  student: Tensor;
  /** L2-normalised teacher embeddings [n, 1, 1, d]. */
  teacher: Tensor;
  /** Earlier teacher embeddings [1, 1, k padded to 4, d], as they were before this batch. */
  queue: Tensor;
  /** k: how many rows of the queue there are. */
  queueSize: number;
  /** Student temperature (`--temp`), tau_S. */
  temperature: number;
  /** Teacher temperature (`--distill-t`), tau_T. */
  teacherTemperature: number;
}

/**
 * The cross-entropy [1] between the teacher's and the student's softmax over the similarities to the queue and, as
 * one more column, to the picture's own teacher embedding.
 */
export function seedLoss(graph: Graph, inputs: SeedLossInputs): Tensor {
  const { student, teacher, queue, queueSize, temperature, teacherTemperature } = inputs;
  const similarities = [student, teacher].flatMap((embedding) => [
    graph.apply(matmulTransposed, [embedding, queue], {}),
    graph.apply(rowDot, [embedding, teacher], {}),
  ]);
  const [loss] = graph.applyAll(softCrossEntropy, similarities, {
    temperature,
    targetTemperature: teacherTemperature,
    columns: queueSize,
  });
  return loss;
}

/** SEED's loss (Fang et al. 2021, eq. 4 to 6; `builder.py` of the original). */
import type { Graph, Tensor } from "../../kernels/graph.ts";
import { queueCrossEntropy } from "../../kernels/ops/queue_cross_entropy/queue_cross_entropy.ts";

/** Inputs of {@linkcode seedLoss}. */
export interface SeedLossInputs {
  /** L2-normalised student embeddings [n, 1, 1, d]. */
  student: Tensor;
  /** L2-normalised teacher embeddings [n, 1, 1, d]. */
  teacher: Tensor;
  /** Earlier teacher embeddings [1, 1, k padded to 4, d], as they were before this batch. */
  queue: Tensor;
  /** k: the number of keys in the queue. */
  queueSize: number;
  /** Student temperature (`--temp`), tau_S. */
  temperature: number;
  /** Teacher temperature (`--distill-t`), tau_T. */
  teacherTemperature: number;
}

/**
 * Returns the cross-entropy [1] between the teacher's and the student's softmax over the similarities to the queue.
 * One more column of both is the similarity to the image's own teacher embedding.
 */
export function seedLoss(graph: Graph, { student, teacher, queue, ...attributes }: SeedLossInputs): Tensor {
  const [loss] = graph.applyAll(queueCrossEntropy, [student, teacher, queue], attributes);
  return loss;
}

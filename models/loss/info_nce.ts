/** InfoNCE, the loss of MoCo (He et al. 2020, eq. 1; `moco/builder.py` of the original). */
import type { Graph, Tensor } from "../../kernels/graph.ts";
import { queueCrossEntropy } from "../../kernels/ops/queue_cross_entropy/queue_cross_entropy.ts";

/** What {@linkcode infoNce} needs. */
export interface InfoNceInputs {
  /** L2-normalised embeddings of one view of each image [n, 1, 1, d], of the encoder that is trained. */
  query: Tensor;
  /** L2-normalised embeddings of another view [n, 1, 1, d], through which no gradient flows. */
  key: Tensor;
  /** Keys of earlier batches [1, 1, k padded to 4, d], as they were before this batch. */
  queue: Tensor;
  /** k: how many rows of the queue there are. */
  queueSize: number;
  /** Divides the similarities (`--moco-t`), tau. */
  temperature: number;
}

/**
 * The cross-entropy [1] of finding each query's own key among all keys: -log of the softmax of its similarities to its own key
 * and to the queue, at the own one.
 */
export function infoNce(graph: Graph, { query, key, queue, ...attributes }: InfoNceInputs): Tensor {
  const [loss] = graph.applyAll(queueCrossEntropy, [query, key, queue], attributes);
  return loss;
}

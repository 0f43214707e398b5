/** The loss of a batch that several devices share. */
import type { Graph, Tensor } from "../../kernels/graph.ts";
import { affine } from "../../kernels/ops/affine/affine.ts";

/**
 * Returns what a device adds to the loss of the whole batch: its own part's loss, divided by the number of devices. So the sums over
 * all devices, of losses and of gradients, are those of the whole batch.
 */
export function sharedLoss(graph: Graph, loss: Tensor, ranks = 1): Tensor {
  return ranks === 1 ? loss : graph.apply(affine, [loss], { scale: 1 / ranks });
}

/**
 * Memory for time: what the backward pass needs of the forward pass is computed again instead of kept ("activation
 * checkpointing", Chen et al. 2016).
 */
import type { Graph, Node, Tensor } from "./graph.ts";

/** Whether a tensor has one value or vector an image or a channel, and no pixels: that is little, and is kept. */
function isSmall({ shape }: Tensor): boolean {
  return shape.length !== 4 || shape[1] * shape[2] === 1;
}

/** Whether a node is run once only: it changes state, or its output is the end of a block. */
function isKept({ op, attributes }: Node): boolean {
  return op.hasEffect === true || op.endsBlock?.(attributes) === true;
}

/**
 * Rewrites the backward part of a graph so that it keeps nothing large of the forward part but the ends of residual
 * blocks; what it reads otherwise is computed again from these, by the same kernels and so to the same bits, right before
 * it is read for the first time.
 *
 * @param graph changed in place
 * @param forward how many of its nodes are the forward part, the first ones
 */
export function recomputeActivations(graph: Graph, forward: number): void {
  const nodes = graph.nodes.splice(0);
  graph.nodes.push(...nodes.slice(0, forward));
  const producers = new Map<number, Node>();
  for (const node of graph.nodes) for (const { id } of node.outputs) producers.set(id, node);

  const again = new Map<number, Tensor>();
  const recompute = (tensor: Tensor): Tensor => {
    const producer = producers.get(tensor.id);
    if (producer === undefined || isKept(producer) || isSmall(tensor)) {
      return tensor;
    }
    if (!again.has(tensor.id)) {
      const { op, attributes, outputs } = producer;
      const inputs = producer.inputs.map(recompute);
      for (const [i, output] of graph.applyAll(op, inputs, attributes).entries()) {
        again.set(outputs[i].id, output);
      }
    }
    return again.get(tensor.id)!;
  };
  for (const node of nodes.slice(forward)) {
    const inputs = node.inputs.map(recompute);
    graph.nodes.push({ ...node, inputs });
  }
}

/** Reverse-mode differentiation on the graph: adds the nodes that compute gradients. */
import type { Graph, Node, Tensor } from "./graph.ts";
import { add } from "./ops/add/add.ts";
import { scaleGradient } from "./ops/loss_scale/loss_scale.ts";

/**
 * Gradients of a loss, or of the sum of several, with respect to some tensors.
 *
 * @param loss node outputs that the gradient starts from; their op must give gradients without a seed (a scalar loss)
 * @param wanted tensors, usually parameters, of which the gradient is asked for
 * @param lossScale state of loss scaling, by which what comes from the losses is multiplied, and so all gradients are
 * @returns one gradient a wanted tensor, of its shape
 * @throws when the loss does not depend on a wanted tensor, or an op on the way has no gradient
 */
export function differentiate(
  graph: Graph,
  loss: Tensor | readonly Tensor[],
  wanted: readonly Tensor[],
  lossScale?: Tensor,
): Tensor[] {
  const losses = "shape" in loss ? [loss] : loss;
  const nodes = graph.nodes.slice();
  const depends = new Set(wanted.map((tensor) => tensor.id));
  for (const node of nodes) {
    if (node.inputs.some((input) => depends.has(input.id))) {
      for (const output of node.outputs) depends.add(output.id);
    }
  }
  const idle = losses.find(({ producer, id }) => producer === undefined || !depends.has(id));
  if (idle !== undefined) {
    throw new Error(`differentiate: ${idle.label} depends on none of the ${wanted.length} tensors asked for`);
  }

  const gradients = new Map<number, Tensor>();
  const seeded = new Set(losses.map(({ producer }) => producer));
  for (const node of nodes.reverse()) {
    const outputGradients = node.outputs.map((output) => gradients.get(output.id));
    if (!seeded.has(node) && outputGradients.every((gradient) => gradient === undefined)) continue;
    const needed = node.inputs.map((input) => depends.has(input.id));
    if (!needed.includes(true)) continue;
    if (node.op.gradient === undefined) throw new Error(`differentiate: ${node.op.name} has no gradient`);
    const inputGradients = node.op.gradient(graph, node, outputGradients, needed);
    for (const [i, input] of node.inputs.entries()) {
      const plain = inputGradients[i];
      if (!needed[i] || plain === undefined) continue;
      const isScaled = lossScale !== undefined && seeded.has(node);
      const gradient = isScaled ? graph.apply(scaleGradient, [plain, lossScale], {}) : plain;
      const earlier = gradients.get(input.id);
      gradients.set(input.id, earlier === undefined ? gradient : sum(graph, earlier, gradient));
    }
  }
  return wanted.map((tensor) => {
    const gradient = gradients.get(tensor.id);
    if (gradient === undefined) throw new Error(`differentiate: no gradient reaches ${tensor.label}`);
    return gradient;
  });
}

/** `a + b`, in the epilogue of the later one's own kernel where its op can do that. */
function sum(graph: Graph, a: Tensor, b: Tensor): Tensor {
  const node: Node | undefined = b.producer;
  const fused = node !== undefined ? node.op.fuseAdd?.(graph, node, a) : undefined;
  return fused ?? graph.apply(add, [a, b], {});
}

/** Reverse-mode differentiation on the graph: adds the nodes that compute gradients. */
import type { Graph, Node, Tensor } from "./graph.ts";
import { add } from "./ops/add/add.ts";
import { affine } from "./ops/affine/affine.ts";
import { scaleGradient } from "./ops/loss_scale/loss_scale.ts";
import { one } from "./ops/one/one.ts";

/**
 * Gradients of a loss, or of the sum of several, with respect to some tensors.
 *
 * @param loss node outputs [1] that the gradient starts from
 * @param wanted tensors, usually parameters, of which the gradient is asked for
 * @param lossScale state of loss scaling, by which what comes from the losses is multiplied, and so all gradients are
 * @returns one gradient a wanted tensor, of its shape; no two are one tensor, and no node reads one
 * @throws when the loss does not depend on a wanted tensor, or an op or output on the way has no gradient
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
  const multiplied = (gradient: Tensor, factor: Tensor | undefined) =>
    factor === undefined ? gradient : graph.apply(scaleGradient, [gradient, factor], {});
  // The gradient of a loss with respect to itself.
  const seed = () => multiplied(graph.apply(one, [], {}), lossScale);
  const starts = new Set(losses.map(({ producer }) => producer!));
  for (const { id, producer } of losses) if (!producer!.op.isLoss) gradients.set(id, seed());
  // What the gradient of an op that is a loss by itself is multiplied by: it knows nothing of what comes after it.
  const factorOf = (node: Node, outputGradient: Tensor | undefined) => {
    if (!node.op.isLoss) return undefined;
    if (!starts.has(node)) return outputGradient;
    return outputGradient === undefined ? lossScale : sum(graph, outputGradient, seed());
  };
  for (const node of nodes.reverse()) {
    const outputGradients = node.outputs.map((output) => gradients.get(output.id));
    if (!starts.has(node) && outputGradients.every((gradient) => gradient === undefined)) continue;
    const needed = node.inputs.map((input) => depends.has(input.id));
    if (!needed.includes(true)) continue;
    if (node.op.gradient === undefined) throw new Error(`differentiate: ${node.op.name} has no gradient`);
    if (node.op.isLoss && outputGradients.slice(1).some((gradient) => gradient !== undefined)) {
      throw new Error(
        `differentiate: ${node.op.name} is a loss, of whose outputs only the first has a gradient`,
      );
    }
    const inputGradients = node.op.gradient(graph, node, outputGradients, needed);
    requireOfInputs(node, inputGradients);
    const factor = factorOf(node, outputGradients[0]);
    for (const [i, input] of node.inputs.entries()) {
      const plain = inputGradients[i];
      if (!needed[i] || plain === undefined) continue;
      const gradient = multiplied(plain, factor);
      const earlier = gradients.get(input.id);
      gradients.set(input.id, earlier === undefined ? gradient : sum(graph, earlier, gradient));
    }
  }
  const found = wanted.map((tensor) => {
    const gradient = gradients.get(tensor.id);
    if (gradient === undefined) throw new Error(`differentiate: no gradient reaches ${tensor.label}`);
    return gradient;
  });
  // Gradients get places of their own in one buffer, which no kernel can read in one place and write in another.
  const read = new Set(graph.nodes.flatMap(({ inputs }) => inputs.map(({ id }) => id)));
  const isShared = (gradient: Tensor) => found.indexOf(gradient) !== found.lastIndexOf(gradient);
  return found.map((gradient) =>
    read.has(gradient.id) || isShared(gradient) ? graph.apply(affine, [gradient], {}) : gradient // a copy
  );
}

/** Requires one gradient for each input, of its shape: a kernel would read past the end of a smaller one. */
function requireOfInputs({ op, inputs }: Node, gradients: readonly (Tensor | undefined)[]): void {
  if (gradients.length !== inputs.length) {
    throw new Error(
      `differentiate: the gradient of ${op.name} returns ${gradients.length} tensors; expected one, or undefined, for ` +
        `each of its ${inputs.length} inputs`,
    );
  }
  for (const [i, gradient] of gradients.entries()) {
    const { shape, label } = inputs[i];
    if (gradient === undefined || String(gradient.shape) === String(shape)) continue;
    throw new Error(
      `differentiate: the gradient of ${op.name} for its input ${i}, ${label} [${shape}], is [${gradient.shape}]`,
    );
  }
}

/** `a + b`, in the epilogue of the later one's own kernel where its op can do that. */
function sum(graph: Graph, a: Tensor, b: Tensor): Tensor {
  const node: Node | undefined = b.producer;
  const fused = node !== undefined ? node.op.fuseAdd?.(graph, node, a) : undefined;
  return fused ?? graph.apply(add, [a, b], {});
}

/** The losses that a distillation can name. */
import { Graph, padTo4, type Tensor } from "../../kernels/graph.ts";
import { UserError } from "../../errors.ts";
import { cosineLoss } from "./cosine_loss.ts";
import { inBatchLoss } from "./in_batch_loss.ts";
import { mseLoss } from "./mse_loss.ts";
import { seedLoss, type SeedLossInputs } from "./seed_loss.ts";

/** Traces the loss [1] of a batch's embeddings. Every op that depends on the student needs a gradient. */
export type Loss = (graph: Graph, inputs: SeedLossInputs) => Tensor;

/** The loss where none is said. */
export const DEFAULT_LOSS = "seed";

const losses = new Map<string, Loss>([
  [DEFAULT_LOSS, seedLoss],
  ["cosine", cosineLoss],
  ["mse", mseLoss],
  ["in_batch", inBatchLoss],
]);

/**
 * Registers a loss that a distillation can use by name. Workers load their own modules, so pass the URL of the
 * calling module to a run as one of its `plugins`.
 *
 * @throws {Error} if the name is taken
 */
export function registerLoss(name: string, loss: Loss): void {
  if (losses.has(name)) throw new Error(`there is already a loss "${name}"`);
  losses.set(name, loss);
}

/** Names of all of them. */
export function lossNames(): string[] {
  return [...losses.keys()];
}

/** The loss of a name. Throws a {@linkcode UserError} that lists the known ones. */
export function findLoss(name: string): Loss {
  const loss = losses.get(name);
  if (loss === undefined) {
    throw new UserError(`there is no loss "${name}"; known are ${lossNames().join(", ")}`);
  }
  return loss;
}

/**
 * Returns whether a loss compares with the queue, as its graph says.
 *
 * @throws {UserError} for an unknown name, and what the loss throws for that batch
 */
export function readsQueue(
  name: string,
  { batch, dimension, queueSize }: { batch: number; dimension: number; queueSize: number },
): boolean {
  const graph = new Graph();
  const queue = graph.source("queue", [1, 1, padTo4(queueSize), dimension]);
  const [student, teacher] = ["student", "teacher"].map((label) =>
    graph.source(label, [batch, 1, 1, dimension])
  );
  findLoss(name)(graph, { student, teacher, queue, queueSize, temperature: 1, teacherTemperature: 1 });
  return graph.nodes.some(({ inputs }) => inputs.includes(queue));
}

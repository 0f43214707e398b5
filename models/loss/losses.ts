/** The losses that a distillation can name. */
import { Graph, padTo4, type Tensor } from "../../kernels/graph.ts";
import { UserError } from "../../errors.ts";
import { cosineLoss } from "./cosine_loss.ts";
import { inBatchLoss } from "./in_batch_loss.ts";
import { mseLoss } from "./mse_loss.ts";
import type { LossInputs } from "./loss_inputs.ts";
import { seedLoss } from "./seed_loss.ts";
import { tokensLoss } from "./tokens_loss.ts";

/** Traces the loss [1] of a batch. Every op that depends on the student needs a gradient. */
export type Loss = (graph: Graph, inputs: LossInputs) => Tensor;

/** Temperatures of a loss, as its inputs are called: of the student (`--temp`), and of the teacher (`--distill-t`). */
export type LossTemperature = "temperature" | "teacherTemperature";

/** What a loss needs besides embeddings, and what it does not. */
export interface LossNeeds {
  /** Whether it compares feature maps, which then travel from the teacher to the student. Default: false. */
  usesMaps?: boolean;
  /** Temperatures that it ignores: no message advises to change them, and a given one is warned of. Default: none. */
  ignores?: readonly LossTemperature[];
}

const TEMPERATURES: readonly LossTemperature[] = ["temperature", "teacherTemperature"];

/** The loss where none is said. */
export const DEFAULT_LOSS = "seed";

const losses = new Map<string, { loss: Loss } & LossNeeds>([
  [DEFAULT_LOSS, { loss: seedLoss }],
  ["cosine", { loss: cosineLoss, ignores: TEMPERATURES }],
  ["mse", { loss: mseLoss, ignores: TEMPERATURES }],
  ["in_batch", { loss: inBatchLoss }],
  ["tokens", { loss: tokensLoss, usesMaps: true }],
]);

/**
 * Registers a loss that a distillation can use by name. Workers load their own modules, so pass the URL of the
 * calling module to a run as one of its `plugins`.
 *
 * @param needs what it needs besides embeddings, and what it ignores
 * @throws {Error} if the name is taken
 */
export function registerLoss(name: string, loss: Loss, needs: LossNeeds = {}): void {
  if (losses.has(name)) throw new Error(`there is already a loss "${name}"`);
  losses.set(name, { loss, ...needs });
}

/** Names of all of them. */
export function lossNames(): string[] {
  return [...losses.keys()];
}

/**
 * Returns the loss of a name. It throws a {@linkcode UserError} where it does not return a tensor [1]: the gradient of more numbers
 * is that of no loss.
 *
 * @throws {UserError} for an unknown name; the message lists the known ones
 */
export function findLoss(name: string): Loss {
  const { loss } = find(name);
  return (graph, inputs) => {
    const traced = loss(graph, inputs);
    const found = describeOtherThanLoss(traced);
    if (found === undefined) return traced;
    throw new UserError(
      `the loss "${name}" returned ${found}, expected a tensor of shape [1]; the op mean makes one of the losses of images`,
    );
  };
}

/** What a loss returned, which may come from outside, where it is no tensor [1]; else `undefined`. */
function describeOtherThanLoss(returned: unknown): string | undefined {
  if (returned instanceof Promise) return "a promise";
  if (typeof returned !== "object" || returned === null) return String(returned);
  const { shape } = returned as Partial<Tensor>;
  if (!Array.isArray(shape)) return "no tensor";
  return shape.length === 1 && shape[0] === 1 ? undefined : `a tensor of shape [${shape.join(", ")}]`;
}

/** Whether the loss of a name compares feature maps. Throws as {@linkcode findLoss} does. */
export function usesMaps(name: string): boolean {
  return find(name).usesMaps ?? false;
}

/** Whether the loss of a name ignores a temperature. Throws as {@linkcode findLoss} does. */
export function ignoresTemperature(name: string, temperature: LossTemperature): boolean {
  return find(name).ignores?.includes(temperature) ?? false;
}

function find(name: string): { loss: Loss } & LossNeeds {
  const found = losses.get(name);
  if (found === undefined) {
    throw new UserError(`there is no loss "${name}"; known are ${lossNames().join(", ")}`);
  }
  return found;
}

/** The sizes of what a loss is given. */
export interface LossSizes {
  batch: number;
  dimension: number;
  queueSize: number;
  /** Height, width and channels of the feature maps, where the loss uses them. */
  maps?: Readonly<Record<"student" | "teacher", readonly [number, number, number]>>;
}

/**
 * Returns whether a loss compares with the queue, as its graph says.
 *
 * @throws {UserError} for an unknown name, and what the loss throws for that batch
 */
export function readsQueue(name: string, { batch, dimension, queueSize, maps }: LossSizes): boolean {
  const graph = new Graph();
  const queue = graph.source("queue", [1, 1, padTo4(queueSize), dimension]);
  const [student, teacher] = ["student", "teacher"].map((label) =>
    graph.source(label, [batch, 1, 1, dimension])
  );
  const temperatures = { temperature: 1, teacherTemperature: 1, tokenTemperature: 1 };
  findLoss(name)(graph, {
    student,
    teacher,
    batchTeacher: teacher,
    queue,
    queueSize,
    ...temperatures,
    tokenWeight: 1,
    ...maps && {
      maps: {
        student: graph.source("student's map", [batch, ...maps.student]),
        teacher: graph.source("teacher's map", [batch, ...maps.teacher]),
        linear: (name, x, outputs) => graph.source(name, [...x.shape.slice(0, -1), outputs]),
      },
    },
  });
  return graph.nodes.some(({ inputs }) => inputs.includes(queue));
}

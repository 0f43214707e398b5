/**
 * Gives every batch its place in the queue, a ring of the last teacher embeddings, and passes it on.
 *
 * The keys themselves are in one place alone, on the trainer's device: there the loss needs them, there they are always
 * those of the trainer's own moment, and from there checkpoints are written. What is here is what must not depend on how
 * often the trainer, or anybody before this, was started again: which row each batch's keys go to, once.
 */
import { type BatchNumber, isAfter } from "../../actors/batch_number.ts";
import { type ActorRef, defineActor } from "../../actors/runtime/mod.ts";
import type { QueueKeeper, StudentTrainer } from "./messages.ts";

/** Configuration of a `queue_keeper` actor. */
export interface QueueKeeperConfig {
  /** Rows of the queue, at least one batch. */
  size: number;
  /** Keys per batch. */
  batchSize: number;
  /** Row that the next batch's first key replaces. */
  pointer: number;
  /** The batch before the next one. */
  after: BatchNumber;
  /** Receives the batches. */
  next: ActorRef<StudentTrainer>;
}

/** Positions in a ring of rows, in the order of the batches. */
export class QueuePositions {
  readonly #size: number;
  readonly #batchSize: number;
  #pointer: number;
  /** The newest batch that has a place. */
  #newest: BatchNumber;

  constructor({ size, batchSize, pointer, after }: Omit<QueueKeeperConfig, "next">) {
    this.#size = size;
    this.#batchSize = batchSize;
    this.#pointer = pointer;
    this.#newest = after;
  }

  /**
   * The row where a batch's keys begin. One that comes once more, after a restart of somebody before, has had its place: the
   * trainer has had it too, and only sends its buffers back.
   */
  placeOf({ epoch, batch }: BatchNumber): number {
    const pointer = this.#pointer;
    if (!isAfter({ epoch, batch }, this.#newest)) return pointer;
    this.#newest = { epoch, batch };
    this.#pointer = (pointer + this.#batchSize) % this.#size;
    return pointer;
  }
}

export default defineActor<QueueKeeper, QueueKeeperConfig>(({ next, ...config }) => {
  const positions = new QueuePositions(config);
  return {
    handlers: {
      consume: (batch) => next.tell("train", { ...batch, queuePointer: positions.placeOf(batch.position) }),
    },
  };
});

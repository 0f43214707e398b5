/**
 * Owns the queue: a ring of the last teacher embeddings. Every batch is told where its keys go, and is passed on.
 *
 * The trainer is a few batches behind, so a checkpoint asks for the queue as it was then: what the newest batches
 * replaced is kept for a while, and put back in a copy.
 */
import type { BatchPosition, QueueContents, QueueKeeper, StudentTrainer } from "./messages.ts";
import { type ActorRef, defineActor, urgent } from "./runtime/mod.ts";

/** How a queue is started. */
export interface QueueKeeperConfig {
  /** Rows, a multiple of the batch. */
  size: number;
  /** Length of a key. */
  dimension: number;
  /** What the queue starts with. */
  contents: QueueContents;
  next: ActorRef<StudentTrainer>;
}

/** Batches that can be taken back; more than fit in the mailboxes behind the keeper. */
const HISTORY = 8;

/** A ring of keys, with the last few writes kept. */
export class KeyQueue {
  readonly #size: number;
  readonly #dimension: number;
  readonly #keys: Float32Array<ArrayBuffer>;
  #pointer: number;
  readonly #history: {
    position: Pick<BatchPosition, "epoch" | "batch">;
    pointer: number;
    replaced: Float32Array<ArrayBuffer>;
  }[] = [];

  constructor(size: number, dimension: number, { keys, pointer }: QueueContents) {
    this.#size = size;
    this.#dimension = dimension;
    this.#keys = keys.slice();
    this.#pointer = pointer;
  }

  /** Replaces the oldest keys by [n, dimension] new ones; returns the row where they begin. */
  enqueue(keys: Float32Array, position: Pick<BatchPosition, "epoch" | "batch">): number {
    const pointer = this.#pointer;
    const begin = pointer * this.#dimension;
    // In a steady state the oldest record's memory serves the newest.
    const oldest = this.#history.length === HISTORY ? this.#history.shift()!.replaced : undefined;
    const replaced = oldest?.length === keys.length ? oldest : new Float32Array(keys.length);
    replaced.set(this.#keys.subarray(begin, begin + keys.length));
    this.#history.push({ position: { epoch: position.epoch, batch: position.batch }, pointer, replaced });
    this.#keys.set(keys, begin);
    this.#pointer = (pointer + keys.length / this.#dimension) % this.#size;
    return pointer;
  }

  /** A copy, as the queue was right after the batch of a position; by default as it is. */
  contents(after?: Pick<BatchPosition, "epoch" | "batch">): QueueContents {
    const keys = this.#keys.slice();
    let pointer = this.#pointer;
    if (after === undefined) return { keys, pointer };
    for (const record of this.#history.toReversed()) {
      if (record.position.epoch === after.epoch && record.position.batch === after.batch) {
        return { keys, pointer };
      }
      keys.set(record.replaced, record.pointer * this.#dimension);
      pointer = record.pointer;
    }
    throw new Error(`the queue after batch ${after.batch} of epoch ${after.epoch} is not known any more`);
  }
}

/** The first small view's key of each picture, out of all of them. */
function firstOfEach(embeddings: Float32Array, rows: number, dimension: number): Float32Array {
  const stride = embeddings.length / rows;
  const keys = new Float32Array(rows * dimension);
  for (let row = 0; row < rows; row++) {
    keys.set(embeddings.subarray(row * stride, row * stride + dimension), row * dimension);
  }
  return keys;
}

export default defineActor<QueueKeeper, QueueKeeperConfig>(({ size, dimension, contents, next }) => {
  const { pointer, small } = contents;
  const queue = new KeyQueue(size, dimension, contents);
  const smallQueue = small && new KeyQueue(size, dimension, { keys: small, pointer });
  return {
    handlers: {
      async enqueue(batch) {
        const keys = new Float32Array(batch.embeddings);
        const queuePointer = queue.enqueue(keys, batch.position);
        if (smallQueue !== undefined) {
          const embeddings = new Float32Array(batch.small!.embeddings);
          smallQueue.enqueue(firstOfEach(embeddings, keys.length / dimension, dimension), batch.position);
        }
        await next.tell("train", { ...batch, queuePointer });
      },

      contents: urgent((question) => ({
        ...queue.contents(question?.after),
        ...smallQueue && { small: smallQueue.contents(question?.after).keys },
      })),
    },
  };
});

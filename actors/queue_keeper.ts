/**
 * Owns the queue: a ring of the last teacher embeddings. Every batch is told where its keys go, and is passed on.
 *
 * The trainer is a few batches behind, and has a mirror of the queue as it was then; that is what checkpoints are written
 * of, and what a keeper that is started again begins with.
 */
import { ringPieces } from "../models/ring.ts";
import { type BatchNumber, isAfter } from "./batch_number.ts";
import type { QueueContents, QueueKeeper, StudentTrainer } from "./messages.ts";
import { type ActorRef, defineActor, urgent } from "./runtime/mod.ts";

/** How a queue is started. */
export interface QueueKeeperConfig {
  /** Rows, at least as many as a batch has. */
  size: number;
  /** Length of a key. */
  dimension: number;
  /** What the queue starts with. */
  contents: QueueContents;
  /** The batch that it was like this after. */
  after: BatchNumber;
  /** Who gets the batches. */
  next: ActorRef<StudentTrainer>;
}

/** A ring of keys. */
export class KeyQueue {
  readonly #size: number;
  readonly #dimension: number;
  readonly #keys: Float32Array<ArrayBuffer>;
  #pointer: number;
  /** The newest batch that is in it. */
  #newest: BatchNumber;

  constructor(size: number, dimension: number, { keys, pointer }: QueueContents, after: BatchNumber) {
    this.#size = size;
    this.#dimension = dimension;
    this.#keys = keys.slice();
    this.#pointer = pointer;
    this.#newest = after;
  }

  /** Whether a batch's keys are in it, or were. */
  hasHad(position: BatchNumber): boolean {
    return !isAfter(position, this.#newest);
  }

  /** Replaces the oldest keys by [n, dimension] new ones; returns the row where they begin. */
  enqueue(keys: Float32Array, { epoch, batch }: BatchNumber): number {
    const [pointer, dimension] = [this.#pointer, this.#dimension];
    const rows = keys.length / dimension;
    for (const { from, to, count } of ringPieces(pointer, rows, this.#size)) {
      this.#keys.set(keys.subarray(from * dimension, (from + count) * dimension), to * dimension);
    }
    this.#newest = { epoch, batch };
    this.#pointer = (pointer + rows) % this.#size;
    return pointer;
  }

  /** A copy. */
  contents(): QueueContents {
    return { keys: this.#keys.slice(), pointer: this.#pointer };
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

export default defineActor<QueueKeeper, QueueKeeperConfig>(({ size, dimension, contents, after, next }) => {
  const { pointer, small } = contents;
  const queue = new KeyQueue(size, dimension, contents, after);
  const smallQueue = small && new KeyQueue(size, dimension, { keys: small, pointer }, after);
  return {
    handlers: {
      async enqueue(batch) {
        // After a restart before it a batch may come once more; the trainer has had it too, and sends its buffers home.
        if (queue.hasHad(batch.position)) return await next.tell("train", { ...batch, queuePointer: 0 });
        const keys = new Float32Array(batch.embeddings);
        const queuePointer = queue.enqueue(keys, batch.position);
        if (smallQueue !== undefined) {
          const embeddings = new Float32Array(batch.small!.embeddings);
          smallQueue.enqueue(firstOfEach(embeddings, keys.length / dimension, dimension), batch.position);
        }
        await next.tell("train", { ...batch, queuePointer });
      },

      contents: urgent(() => ({
        ...queue.contents(),
        ...smallQueue && { small: smallQueue.contents().keys },
      })),
    },
  };
});

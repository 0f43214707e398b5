/**
 * Reads rows of a TSV file, decodes their pictures, and packs them into one buffer a batch.
 *
 * Several readers share an epoch's order: of `workers` readers, number `worker` makes every `workers`-th batch. What is
 * in a batch depends on the seed, the epoch and the batch's number alone.
 */
import { BatchReader } from "../data/batch_reader.ts";
import { packPictures } from "../data/pack.ts";
import { EpochOrder } from "../data/sampler.ts";
import { TsvFile } from "../data/tsv.ts";
import { UserError } from "../errors.ts";
import type { Augmenter, BatchBuffers, Monitor, Purpose, TsvReader } from "./messages.ts";
import { type ActorContext, type ActorRef, defineActor, urgent } from "./runtime/mod.ts";

/** How a reader is started. */
export interface TsvReaderConfig {
  /** Of the TSV file. */
  path: string;
  purpose: Purpose;
  /** Number of this reader, and how many share the work. */
  worker: number;
  workers: number;
  seed: number;
  batchSize: number;
  /** Bytes of the buffers that travel with a batch to be filled later. */
  viewBytes: number;
  embeddingBytes: number;
  /** Batches of this reader that may be on their way at a time. */
  batchesUnderWay: number;
  monitor: ActorRef<Monitor>;
}

/** Sets of buffers that are free, made anew until there are as many as may be under way. */
class BufferPool {
  readonly #config: TsvReaderConfig;
  readonly #free: BatchBuffers[] = [];
  readonly #waiting: ((buffers: BatchBuffers) => void)[] = [];
  #made = 0;

  constructor(config: TsvReaderConfig) {
    this.#config = config;
  }

  take(context: ActorContext<TsvReader>): Promise<BatchBuffers> | BatchBuffers {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const { viewBytes, embeddingBytes, batchesUnderWay } = this.#config;
    if (this.#made < batchesUnderWay) {
      this.#made++;
      return {
        pictures: new ArrayBuffer(0),
        views: new ArrayBuffer(viewBytes),
        embeddings: new ArrayBuffer(embeddingBytes),
      };
    }
    return context.wait(new Promise<BatchBuffers>((resolve) => this.#waiting.push(resolve)));
  }

  giveBack(buffers: BatchBuffers): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(buffers);
    else next(buffers);
  }
}

export default defineActor<TsvReader, TsvReaderConfig>(async (config, context) => {
  const { path, purpose, worker, workers, seed, batchSize, monitor } = config;
  const tell = (text: string) => void monitor.tell("warning", text).catch(() => {});
  const tsv = await TsvFile.open(path, { onWarning: tell });
  context.onStop(() => tsv.close());
  const isTraining = purpose === "train";
  const reader = new BatchReader(tsv, {
    brokenRows: isTraining ? "replace" : "skip",
    onBrokenRow: ({ file, row, message: text }) =>
      void monitor.tell("brokenRow", { file, row, text }).catch(() => {}),
  });
  const pool = new BufferPool(config);
  let augmenter: ActorRef<Augmenter> | undefined;

  return {
    handlers: {
      connect(next) {
        augmenter = next.augmenter;
      },

      async read({ epoch, firstBatch = 0, endBatch = Infinity }) {
        const order = new EpochOrder(tsv.rowCount, seed, epoch, batchSize, {
          shuffle: isTraining,
          dropLast: isTraining,
        });
        let pictures = 0;
        for (const batch of order.batchesOf(worker, workers, firstBatch)) {
          if (batch >= endBatch || context.signal.aborted) break;
          const buffers = await pool.take(context);
          const decoded = await reader.read(order, batch);
          if (decoded.length === 0) {
            pool.giveBack(buffers);
            continue;
          }
          pictures += decoded.length;
          await augmenter!.tell("augment", {
            position: { epoch, batch, endsEpoch: batch === order.batchCount - 1 },
            home: context.name,
            purpose,
            pictures: packPictures(decoded, buffers.pictures),
            views: buffers.views,
            embeddings: buffers.embeddings,
          });
        }
        if (!isTraining && pictures === 0) {
          throw new UserError(`${path}: none of its ${tsv.rowCount} rows holds a picture that can be used`);
        }
        return { pictures };
      },

      recycle: urgent((buffers) => pool.giveBack(buffers)),
    },
  };
});

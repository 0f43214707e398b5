/**
 * Reads rows of a TSV file, or of other data (see `openDataset`), decodes their images, and packs them into one buffer
 * a batch.
 *
 * Several readers share an epoch's order: of `workers` readers, number `worker` makes every `workers`-th batch. What is
 * in a batch depends on the seed, the epoch and the batch's number alone.
 */
import { BatchReader } from "../data/batch_reader.ts";
import { ImageCache, type ImageCacheHandle } from "../data/image_cache.ts";
import { openDataset } from "../data/open_dataset.ts";
import { packImages } from "../data/pack.ts";
import { counted } from "../data/printable.ts";
import { EpochOrder } from "../data/sampler.ts";
import { UserError } from "../errors.ts";
import type { Monitor } from "./events.ts";
import type { Augmenter, BatchBuffers, Purpose, TsvReader } from "./messages.ts";
import type { Share } from "./ranks/ranks.ts";
import { type ActorContext, type ActorRef, defineActor, urgent } from "./runtime/mod.ts";

/** Order in which rows are read, and the treatment of broken ones; see `EpochOrder` and `BatchReader`. */
export interface ReadingOrder {
  /** Whether to shuffle the rows in each epoch, instead of keeping the order of the data. */
  shuffle: boolean;
  /** Whether to drop an incomplete last batch. */
  dropLast: boolean;
  /** Whether a broken row is replaced by another image or skipped. */
  brokenRows: "replace" | "skip";
}

/** Order for training: shuffled in each epoch, in full batches only. */
export const TRAINING_ORDER: ReadingOrder = { shuffle: true, dropLast: true, brokenRows: "replace" };

/** Order for evaluation: every usable image once, in the order of the data. */
export const EVALUATION_ORDER: ReadingOrder = { shuffle: false, dropLast: false, brokenRows: "skip" };

/** Sizes of the buffers that travel with a batch, in bytes. */
export interface BufferBytes {
  /** Bytes of the views. */
  viewBytes: number;
  /** Bytes of the teacher's views, if they have another size. */
  teacherViewBytes?: number;
  /** Bytes of the embeddings. */
  embeddingBytes: number;
  /** Bytes of the teacher's feature maps, if they travel too. */
  mapBytes?: number;
  /** The same for small views, if any. */
  local?: { viewBytes: number; embeddingBytes: number };
}

/**
 * Makes the buffers that travel with a batch, for a reader of one's own: all that its configuration asks for. `images` is
 * empty, as `packImages()` makes it as large as the images are.
 *
 * ```ts ignore
 * const buffers = makeBuffers(config); // once, and again what `recycle` brings back
 * await augmenter.tell("augment", { ...buffers, images: packImages(images, buffers.images), position, origin, purpose });
 * ```
 */
export function makeBuffers(
  { viewBytes, teacherViewBytes, embeddingBytes, mapBytes, local }: BufferBytes,
): BatchBuffers {
  return {
    images: new ArrayBuffer(0),
    views: new ArrayBuffer(viewBytes),
    ...teacherViewBytes !== undefined && { teacherViews: new ArrayBuffer(teacherViewBytes) },
    embeddings: new ArrayBuffer(embeddingBytes),
    ...mapBytes !== undefined && { maps: new ArrayBuffer(mapBytes) },
    ...local && {
      local: {
        views: new ArrayBuffer(local.viewBytes),
        embeddings: new ArrayBuffer(local.embeddingBytes),
      },
    },
  };
}

/** Configuration of a `tsv_reader` actor. */
export interface TsvReaderConfig extends BufferBytes {
  /** Path of a TSV file, or of other data that `openDataset` accepts. */
  path: string;
  /** Rows of the data when the run looked at it. Default: as many as there are. */
  rowCount?: number;
  /** Purpose of the images, which is passed on with them. */
  purpose: Purpose;
  /** Order of the rows: {@linkcode TRAINING_ORDER}, {@linkcode EVALUATION_ORDER} or a mixture. */
  order: ReadingOrder;
  /** The rows that are read, ascending; all of them where it is left out. */
  rows?: Uint32Array<ArrayBuffer>;
  /** Number of this reader, from 0. */
  worker: number;
  /** Number of readers that share the data. */
  workers: number;
  /** Seed of the order. */
  seed: number;
  /** Images per batch, of this process's share. */
  batchSize: number;
  /** Share of each batch that this process takes; the whole where it is left out. */
  share?: Share;
  /** Maximum pixels of an image; a larger one counts as broken. */
  maxPixels?: number;
  /** JPEGs whose shorter side stays so long, in pixels, are decoded at a fraction of their size. Default: none is. */
  leastSide?: number;
  /** Where decoded images of this data are kept. Default: every batch is decoded. */
  cache?: ImageCacheHandle;
  /** Maximum number of this reader's batches in flight. */
  batchesUnderWay: number;
  /** Receives events about broken rows. */
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
    if (this.#made < this.#config.batchesUnderWay) {
      this.#made++;
      return makeBuffers(this.#config);
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
  const { path, purpose, order: orderOptions, rows, worker, workers, seed, batchSize, share, monitor } =
    config;
  const tell = (text: string) => void monitor.tell("event", { type: "warning", text }).catch(() => {});
  const dataset = await openDataset(path, { onWarning: tell });
  context.onStop(() => dataset.close());
  const { rowCount = dataset.rowCount } = config;
  if (dataset.rowCount !== rowCount) {
    throw new UserError(
      `${path}: has ${
        counted(dataset.rowCount, "row")
      } now, and had ${rowCount} when the run began: its images are not to ` +
        "change while it goes on",
    );
  }
  const cache = config.cache && ImageCache.open(config.cache, (reason) => tell(`${path}: ${reason}`));
  context.onStop(() => cache?.[Symbol.dispose]());
  const reader = new BatchReader(dataset, {
    brokenRows: orderOptions.brokenRows,
    maxPixels: config.maxPixels,
    leastSide: config.leastSide,
    cache,
    onBrokenRow: ({ file, row, message: text }) =>
      void monitor.tell("event", { type: "broken-row", file, row, text }).catch(() => {}),
  });
  const pool = new BufferPool(config);
  let augmenter: ActorRef<Augmenter> | undefined;

  return {
    handlers: {
      connect(next) {
        augmenter = next.augmenter;
      },

      async read({ epoch, firstBatch = 0, endBatch = Infinity }) {
        const whole = batchSize * (share?.of ?? 1);
        const order = new EpochOrder(dataset.rowCount, seed, epoch, whole, { ...orderOptions, rows, share });
        let images = 0;
        for (const batch of order.batchesOf(worker, workers, firstBatch)) {
          if (batch >= endBatch || context.signal.aborted) break;
          const buffers = await pool.take(context);
          const decoded = await reader.read(order, batch);
          images += decoded.length;
          await augmenter!.tell("augment", {
            position: { epoch, batch, endsEpoch: batch === order.batchCount - 1 },
            origin: context.name,
            purpose,
            ...buffers,
            images: packImages(decoded, buffers.images),
          });
        }
        return { images };
      },

      recycle: urgent((buffers) => pool.giveBack(buffers)),
    },
  };
});

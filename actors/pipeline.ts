/**
 * The way of images through a run, declared once: sources, each of one or several readers, give decoded batches to an
 * augmenter, which gives views to an encoder, which gives embeddings to a sink:
 *
 *     tsv_reader x workers -> augmenter -> encoder -> sink -> (empty buffers) -> tsv_reader
 *
 * What comes after the augmenter is the run's own business; it is spawned first, so that everybody is given a reference to
 * somebody who lives.
 */
import { UserError } from "../errors.ts";
import type augmenter from "./augmenter.ts";
import type { Views } from "./augmenter.ts";
import { type ActorModules, actorUrl } from "./catalog.ts";
import { noImages } from "./data_facts.ts";
import type { Monitor, ViewsEvent, WarningEvent } from "./events.ts";
import type { ImageCaches } from "./image_caches.ts";
import type { Augmenter, Encoder, LocalViewOptions, Purpose, Returning, TsvReader } from "./messages.ts";
import type { Share } from "./ranks/ranks.ts";
import type { ActorRef, Supervised, Supervisor } from "./runtime/mod.ts";
import type tsvReader from "./tsv_reader.ts";
import type { BufferBytes, ReadingOrder } from "./tsv_reader.ts";

/** Asks that take as long as they take. */
export const PATIENCE = { timeoutMs: Infinity };

/** What all of a pipeline has in common. */
export interface PipelineOptions {
  /** Images of a batch, of this process's share. */
  batchSize: number;
  /** Side of a view, in pixels. */
  imageSize: number;
  /** Side of the same views for the teacher, in pixels, if that is another one. */
  teacherSize?: number;
  /** Small views of the same images (SWAV's multi-crop). */
  local?: LocalViewOptions;
  /** Numbers of an embedding, for which a buffer travels with each batch; 0 where none do. */
  embeddingLength: number;
  /** Numbers of a feature map on the device, if maps travel too. */
  mapLength?: number;
  /** Actors that a batch goes through, reader and sink among them. */
  stages: number;
  /** Pixels that an image may have; a larger one counts as broken. */
  maxPixels?: number;
  /** JPEGs whose shorter side stays so long, in pixels, are decoded at a fraction of their size; none where it is left out. */
  leastSide?: number;
  /** Where decoded images are kept; nowhere where it is left out. */
  caches?: ImageCaches;
  /** Actors of one's own in the places of built-in ones. */
  actors?: ActorModules;
  /** Who is told of broken rows. */
  monitor: ActorRef<Monitor>;
}

/** Data that some readers share. */
export interface Source {
  /** Of its readers. */
  name: string;
  /** Of the TSV file, or of other data that `openDataset` knows. */
  path: string;
  /** Rows of the data when the run looked at it; readers that find another number end the run. */
  rowCount?: number;
  purpose: Purpose;
  order: ReadingOrder;
  /** The rows that are read, ascending; all of them where it is left out. */
  rows?: Uint32Array<ArrayBuffer>;
  /** Share of each batch that this process takes; the whole where it is left out. */
  share?: Share;
  /** Of the order; 0 where it is left out. */
  seed?: number;
  /** How many share the work; one where it is left out. */
  workers?: number;
}

/** An augmenter with its sources. */
export interface Branch {
  /** Of the augmenter. */
  name: string;
  sources: readonly Source[];
  /** How views are made; asked once more after a restart. */
  views(): Views;
  /** Who is shown some views of the first batch. */
  viewer?: ActorRef<Monitor<ViewsEvent | WarningEvent>>;
}

/** Bytes of what travels with a batch: views are RGBA8, embeddings float32. */
export function bufferBytes(
  { batchSize, imageSize, teacherSize, local, embeddingLength, mapLength }: Pick<
    PipelineOptions,
    "batchSize" | "imageSize" | "teacherSize" | "local" | "embeddingLength" | "mapLength"
  >,
): BufferBytes {
  const bytesOf = (rows: number, size: number) => ({
    viewBytes: rows * size * size * 4,
    embeddingBytes: rows * embeddingLength * 4,
  });
  return {
    ...bytesOf(batchSize, imageSize),
    ...teacherSize !== undefined && { teacherViewBytes: batchSize * teacherSize * teacherSize * 4 },
    ...mapLength !== undefined && { mapBytes: batchSize * mapLength * 4 },
    ...local && { local: bytesOf(batchSize * local.views, local.imageSize) },
  };
}

/** Which batches are read. */
export interface ReadingRange {
  epoch: number;
  /** 0 where it is left out. */
  firstBatch?: number;
  /** Not included; all there are where it is left out. */
  endBatch?: number;
}

/** How many images one of several readers sends of full batches. */
function imagesOf(
  { firstBatch, endBatch }: Required<ReadingRange>,
  { worker, workers, batchSize }: { worker: number; workers: number; batchSize: number },
): number {
  const before = (batch: number) => Math.ceil((batch - worker) / workers); // its batches below that one
  return batchSize * (before(endBatch) - before(firstBatch));
}

/** A source with its actors. */
interface SpawnedSource extends Source {
  readers: readonly Supervised<TsvReader>[];
  augmenter: Supervised<Augmenter>;
}

/** Readers and augmenters, ready to be connected. */
export class Pipeline {
  readonly augmenters: readonly Supervised<Augmenter>[];
  readonly #sources: readonly SpawnedSource[];
  readonly #batchSize: number;

  /** @param next who gets the views; asked once more after a restart */
  constructor(
    supervisor: Supervisor,
    options: PipelineOptions,
    branches: readonly Branch[],
    next: () => ActorRef<Encoder>,
  ) {
    const {
      batchSize,
      imageSize,
      teacherSize,
      local,
      maxPixels,
      leastSide,
      caches,
      stages,
      actors,
      monitor,
    } = options;
    this.#batchSize = batchSize;
    this.#sources = branches.flatMap(({ name, sources, views, viewer }) => {
      const own = supervisor.spawn<typeof augmenter>(name, actorUrl("augmenter", actors), () => ({
        batchSize,
        isFull: sources.every(({ order }) => order.dropLast && order.brokenRows === "replace"),
        imageSize,
        teacherSize,
        views: views(),
        local,
        viewer,
        next: next(),
      }));
      return sources.map((source) => {
        const { path, rowCount, purpose, order, rows, share, seed = 0, workers = 1 } = source;
        const readers = Array.from({ length: workers }, (_, worker) =>
          supervisor.spawn<typeof tsvReader>(
            workers === 1 ? source.name : `${source.name} ${worker}`,
            actorUrl("tsv_reader", actors),
            () => ({
              path,
              rowCount,
              purpose,
              order,
              rows,
              share,
              worker,
              workers,
              seed,
              batchSize,
              maxPixels,
              leastSide,
              cache: caches?.of(path),
              ...bufferBytes(options),
              // One in each stage, and one on its way back, so that no stage waits for an empty buffer.
              batchesUnderWay: stages + 1,
              monitor,
            }),
          ));
        return { ...source, readers, augmenter: own };
      });
    });
    this.augmenters = [...new Set(this.#sources.map(({ augmenter }) => augmenter))];
  }

  /** The readers of the current incarnation: whom the buffers go back to. */
  get readers(): ActorRef<TsvReader>[] {
    return this.#sources.flatMap(({ readers }) => readers.map(({ ref }) => ref));
  }

  /** Tells every reader of its augmenter, and a sink that wants to know of every reader; after a restart once more. */
  async connect(sink?: ActorRef<Returning>): Promise<void> {
    await Promise.all([
      sink?.tell("connect", { readers: this.readers }),
      ...this.#sources.flatMap(({ readers, augmenter }) =>
        readers.map(({ ref }) => ref.tell("connect", { augmenter: augmenter.ref }))
      ),
    ]);
  }

  /**
   * Has full batches of one epoch after the other read, as far ahead as the buffers allow: each reader goes on by itself. Where
   * one ends early its next incarnation is asked again, or the system says why. One that replies that it has sent fewer or more
   * images than its share of the epoch ends with a `UserError`: whoever waits for the others would wait for ever.
   *
   * @param rangeOf what to read of an epoch; nothing where the run has ended before
   */
  readEpochs(
    name: string,
    rangeOf: (epoch: number) => Required<ReadingRange> | undefined,
    firstEpoch: number,
  ): void {
    const { readers } = this.#find(name);
    for (const [worker, { actor }] of readers.entries()) {
      (async () => {
        for (let epoch = firstEpoch;; epoch++) {
          const range = rangeOf(epoch);
          if (range === undefined) return;
          // One that stands in the place of the built-in one may reply anything.
          const reply: unknown = await actor.ref.ask("read", range, PATIENCE);
          const { images } = (reply ?? {}) as { images?: unknown };
          const share = imagesOf(range, { worker, workers: readers.length, batchSize: this.#batchSize });
          if (images === share) continue;
          actor.crash(
            new UserError(
              `${actor.name}: expected ${share} images of epoch ${epoch} in the reply of read, its share of batches ` +
                `${range.firstBatch} to ${range.endBatch - 1}, found ${images}`,
            ),
          );
          return;
        }
      })().catch(() => {});
    }
  }

  #find(name: string): SpawnedSource {
    return this.#sources.find((source) => source.name === name)!;
  }

  /**
   * Reads an epoch of a source, or a part of it.
   *
   * @returns how many images were sent
   */
  async read(name: string, range: ReadingRange): Promise<number> {
    const { readers, rows } = this.#find(name);
    if (rows?.length === 0) return 0; // another process has all of them
    const counts = await Promise.all(
      readers.map(({ ref }) => ref.ask("read", range, PATIENCE)),
    );
    return counts.reduce((sum, count) => sum + count.images, 0);
  }

  /**
   * {@linkcode read} of what must have images; a whole epoch, the first, where nothing is said.
   *
   * @throws {UserError} where there was none that can be used
   */
  async readAll(name: string, range: ReadingRange = { epoch: 0 }): Promise<number> {
    const images = await this.read(name, range);
    if (images === 0) throw new UserError(noImages(this.#find(name).path));
    return images;
  }
}

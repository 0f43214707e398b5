/**
 * An embedding: every image of some data through a frozen encoder, in the data's order; and, for some
 * of them, the images that are most like them.
 *
 *     tsv_reader x workers -> augmenter -> feature_encoder -> (the caller)
 */
import { abortable } from "../actors/abort.ts";
import { type ActorModules, actorUrl } from "../actors/catalog.ts";
import { withMaxPixels } from "../actors/data_facts.ts";
import { DEFAULT_WORKERS } from "../actors/default_workers.ts";
import type encoder from "../actors/encoder.ts";
import {
  type EvaluationResize,
  type EvaluationResizeChoice,
  resolveEvaluationResize,
} from "../actors/evaluation_resize.ts";
import type { ActorsEvent, Emit, NoticeEvent, ProgressEvent } from "../actors/events.ts";
import { labelsOf, rowsOf } from "../actors/labelled_features.ts";
import type { EncoderChoice } from "../actors/load_encoder.ts";
import type { EmbeddedBatch, Sink } from "../actors/messages.ts";
import { dataListener, describeRestart, listenToActors, withWarningsOnce } from "../actors/notices.ts";
import { Origins } from "../actors/origins.ts";
import { Pipeline } from "../actors/pipeline.ts";
import { openSystem } from "./watched_actors.ts";
import type { ActorCrash } from "../actors/runtime/mod.ts";
import { EVALUATION_ORDER } from "../actors/tsv_reader.ts";
import type { Dataset } from "../data/dataset.ts";
import { openDataset } from "../data/open_dataset.ts";
import { Random } from "../data/random.ts";
import { type Gpu, openGpu } from "../kernels/gpu.ts";
import type { EncoderPart } from "../models/encoder_parts.ts";
import { placesOfOthers, WeightedKnn } from "../models/knn.ts";

/** Reader, augmenter, encoder, and the sink here. */
const STAGES = 4;

/** Name of the readers. */
const SOURCE = "tsv_reader";

/** Rows that are thought of for each query: those that are broken give no feature. */
const CANDIDATES = 4;

/** Options for embedding a data set. */
export interface EmbeddingOptions {
  /** The encoder. */
  encoder: EncoderChoice;
  /** `backbone`: the pooled feature; `encoder`: the L2-normalised embedding after the head. */
  part: EncoderPart;
  /** Length of an embedding. */
  dimension: number;
  /** Images: a path that `openDataset` accepts. */
  data: string;
  /** Images per batch. */
  batchSize: number;
  /** Height and width of a view, in pixels. */
  imageSize: number;
  /** Maximum pixels of an image; a larger one counts as broken. */
  maxPixels?: number;
  /** How images are resized. Default: `auto`, which decides by the data. */
  evalResize?: EvaluationResizeChoice;
  /** Reader Workers. */
  workers: number;
  /** Custom actors that replace built-in ones. */
  actors?: ActorModules;
  /** URLs of modules that register encoders; every Worker imports them. */
  plugins?: string[];
  /**
   * Number of query images, chosen by the seed, and how many nearest neighbours (k) to find for each; `null` for
   * none.
   */
  neighbours: { queries: number; k: number; seed: number } | null;
}

/** Default options of `embed`, on the command line and in the library. */
export const EMBED_DEFAULTS: Readonly<
  Pick<EmbeddingOptions, "part" | "batchSize" | "workers" | "neighbours">
> = { part: "backbone", batchSize: 64, workers: DEFAULT_WORKERS, neighbours: null };

/** Embeddings of some images. */
export interface EmbeddedRows {
  /** Row numbers, from 0, ascending. */
  rows: number[];
  /** Keys of their rows. */
  names: string[];
  /** Class labels; -1 where there is none. */
  labels: number[];
  /** Embeddings, float32 [count, dimension]. */
  embeddings: Float32Array<ArrayBuffer>;
}

/** Events of `embed`. */
export type EmbedEvent =
  | NoticeEvent
  | ProgressEvent
  /** The data is open. */
  | { type: "plan"; images: number; imageSize: number; evalResize: EvaluationResize }
  | ActorsEvent
  /** More images are embedded, in the order of their rows. */
  | ({ type: "rows" } & EmbeddedRows);

/** Nearest neighbours of one image. */
export interface Neighbours {
  /** Row of the image. */
  query: number;
  /** Rows of its neighbours, the most similar first. */
  rows: number[];
  /** Cosine similarities of their embeddings to the image's. */
  similarities: number[];
}

/** Result of `embed`. */
export interface EmbeddingResult {
  /** Number of embedded images, without broken ones. */
  images: number;
  /** Nearest neighbours of each query; empty if none were requested. */
  neighbours: Neighbours[];
}

/** Keeps every embedding on the device, and those of the queries here. */
class NeighbourSearch implements Disposable {
  readonly #knn: WeightedKnn;
  readonly #gpu: Gpu;
  /** In the order in which they are thought of. */
  readonly #candidates: ReadonlySet<number>;
  readonly #found = new Map<number, Float32Array<ArrayBuffer>>();
  readonly #queries: number;
  readonly #dimension: number;
  #added: Promise<void> = Promise.resolve();

  private constructor(
    gpu: Gpu,
    { dimension }: EmbeddingOptions,
    { queries, k, seed }: NonNullable<EmbeddingOptions["neighbours"]>,
    rows: number,
  ) {
    this.#gpu = gpu;
    this.#dimension = dimension;
    this.#queries = queries;
    // The labels are row numbers; an image is its own nearest neighbour.
    this.#knn = new WeightedKnn(gpu, { dimension, classes: rows, k: k + 1, batch: queries });
    const order = new Random(seed, "queries").permutation(rows);
    this.#candidates = new Set(order.subarray(0, CANDIDATES * queries));
  }

  static async open(options: EmbeddingOptions, rows: number): Promise<NeighbourSearch | undefined> {
    if (options.neighbours === null) return undefined;
    return new NeighbourSearch(await openGpu("neighbours"), options, options.neighbours, rows);
  }

  /** Takes rows in, one call after the other. */
  async add({ rows, embeddings }: EmbeddedRows): Promise<void> {
    for (const [i, row] of rows.entries()) {
      if (this.#candidates.has(row)) {
        this.#found.set(row, embeddings.slice(i * this.#dimension, (i + 1) * this.#dimension));
      }
    }
    this.#added = this.#added.then(() => this.#knn.addToBank(embeddings, rows));
    await this.#added;
  }

  async find(): Promise<Neighbours[]> {
    const queries = [...this.#candidates].filter((row) => this.#found.has(row)).slice(0, this.#queries);
    if (queries.length === 0) return [];
    const embeddings = new Float32Array(queries.length * this.#dimension);
    for (const [i, row] of queries.entries()) embeddings.set(this.#found.get(row)!, i * this.#dimension);
    const nearest = await this.#knn.nearest(embeddings);
    return queries.map((query, i) => {
      const places = placesOfOthers(nearest, i, query);
      return {
        query,
        rows: places.map((place) => nearest.labels[place]),
        similarities: places.map((place) => nearest.similarities[place]),
      };
    });
  }

  [Symbol.dispose](): void {
    this.#knn.destroy();
    this.#gpu.destroy();
  }
}

/**
 * Embeds every image that can be used. When an actor crashes all are started again and all is done once more, but told of
 * once.
 *
 * @throws {UserError} for data and checkpoints that cannot be used
 * @throws {ActorCrash} when actors fail again and again; all have been stopped then
 */
export async function runEmbedding(
  given: EmbeddingOptions,
  emit: Emit<EmbedEvent> = () => {},
  signal?: AbortSignal,
): Promise<EmbeddingResult> {
  const evalResize = await resolveEvaluationResize(given.evalResize, given.data, given.imageSize);
  const options = await withMaxPixels({ ...given, evalResize });
  emit = withWarningsOnce(emit);
  using dataset = await openDataset(options.data, dataListener(emit));
  emit({ type: "plan", images: dataset.rowCount, imageSize: options.imageSize, evalResize });
  const system = openSystem(options.plugins, emit);
  using consumer = new Consumer(dataset, options, emit);
  const tellRestart = describeRestart(emit);
  return await system.run(async () => {
    const sink = system.listen<Sink>("sink", { consume: (batch) => consumer.consume(batch) });
    const supervisor = system.supervise({
      strategy: "one-for-all",
      prepare(restart) {
        consumer.restart(restart.crash);
        tellRestart(restart);
      },
      resume: async () => {
        consumer.connect(pipeline);
        emit({ type: "actors", actors: system.actors });
        await pipeline.connect();
      },
    });
    const { batchSize, imageSize, dimension, maxPixels, actors, data, workers } = options;
    const embedder = supervisor.spawn<typeof encoder>("feature_encoder", actorUrl("encoder", actors), () => ({
      encoder: options.encoder,
      output: options.part === "backbone" ? "feature" : "normalized",
      batchSize,
      imageSize,
      next: sink,
    }));
    const pipeline = new Pipeline(
      supervisor,
      {
        batchSize,
        imageSize,
        embeddingLength: dimension,
        stages: STAGES,
        maxPixels,
        actors,
        monitor: listenToActors(system, emit),
      },
      [{
        name: "augmenter",
        // Each attempt has a number of its own, by which what is left of the one before is known.
        views: () => ({
          kind: "evaluation",
          resize: evalResize,
          first: { epoch: consumer.attempt, batch: 0 },
        }),
        sources: [{ name: SOURCE, path: data, purpose: "queries", order: EVALUATION_ORDER, workers }],
      }],
      () => embedder.ref,
    );
    consumer.connect(pipeline);
    emit({ type: "actors", actors: system.actors });
    return await abortable(signal, async () => {
      await pipeline.connect();
      return await supervisor.retry(async () => {
        const search = await consumer.begin();
        const { attempt } = consumer;
        const images = await pipeline.readAll(SOURCE, { epoch: attempt });
        await consumer.until(images, attempt);
        return { images, neighbours: await search?.find() ?? [] };
      });
    });
  });
}

/** Takes what is embedded, attempt by attempt. */
class Consumer implements Disposable {
  /** From 0; grows with every restart. */
  attempt = 0;
  readonly #dataset: Dataset;
  readonly #options: EmbeddingOptions;
  readonly #emit: Emit<EmbedEvent>;
  readonly #origins = new Origins();
  #search: NeighbourSearch | undefined;
  /** Images of this attempt. */
  #images = 0;
  #changed = Promise.withResolvers<void>();
  /** What ended the attempt before. */
  #crash: ActorCrash | undefined;
  /** The last row that was told of. */
  #lastRow = -1;
  /** Settles when the newest batch has been consumed. */
  #consumed: Promise<void> = Promise.resolve();

  constructor(dataset: Dataset, options: EmbeddingOptions, emit: Emit<EmbedEvent>) {
    this.#dataset = dataset;
    this.#options = options;
    this.#emit = emit;
  }

  /** Takes the readers that buffers go back to. */
  connect({ readers }: Pipeline): void {
    this.#origins.connect(readers);
  }

  /** Begins an attempt. */
  async begin(): Promise<NeighbourSearch | undefined> {
    await this.#consumed;
    this[Symbol.dispose]();
    this.#images = 0;
    return this.#search = await NeighbourSearch.open(this.#options, this.#dataset.rowCount);
  }

  /** Takes a batch, and gives its buffers back. */
  consume(batch: EmbeddedBatch): Promise<void> {
    return this.#consumed = this.#consume(batch);
  }

  async #consume(batch: EmbeddedBatch): Promise<void> {
    if (batch.position.epoch !== this.attempt) return; // left over from before a restart
    const { dimension } = this.#options;
    const embedded = readRows(batch, dimension, this.#dataset);
    const { rows } = embedded;
    if (rows.length > 0 && rows[0] > this.#lastRow) {
      this.#lastRow = rows.at(-1)!;
      this.#emit({ type: "rows", ...embedded });
    }
    await this.#search?.add(embedded);
    await this.#origins.giveBack(batch);
    this.#images += rows.length;
    this.#change();
  }

  /** Begins another attempt, since actors crashed. */
  restart(crash: ActorCrash): void {
    this.attempt++;
    this.#crash = crash;
    this.#change();
  }

  /**
   * Waits until so many images have come.
   *
   * @throws {ActorCrash} where another attempt is begun: the readers may have ended when an actor behind them crashed
   */
  async until(images: number, attempt: number): Promise<void> {
    for (;;) {
      if (attempt !== this.attempt) throw this.#crash;
      if (this.#images >= images) return;
      await this.#changed.promise;
    }
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Frees the device's memory. */
  [Symbol.dispose](): void {
    this.#search?.[Symbol.dispose]();
    this.#search = undefined;
  }
}

function readRows(
  { images, embeddings }: EmbeddedBatch,
  dimension: number,
  dataset: Dataset,
): EmbeddedRows {
  const { count } = images;
  const rows = rowsOf(images);
  return {
    rows,
    names: dataset.readKeys(rows),
    labels: labelsOf(images),
    embeddings: new Float32Array(embeddings).slice(0, count * dimension),
  };
}

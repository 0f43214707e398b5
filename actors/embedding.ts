/**
 * The recipe of an embedding: every picture of some data through a frozen encoder, in the data's order; and, for some
 * of them, the pictures that are most like them.
 *
 *     tsv_reader x workers -> augmenter -> feature_encoder -> (the caller)
 */
import type { Dataset } from "../data/dataset.ts";
import { openDataset } from "../data/open_dataset.ts";
import { Random } from "../data/random.ts";
import { type Gpu, openGpu } from "../kernels/gpu.ts";
import { placesOfOthers, WeightedKnn } from "../models/knn.ts";
import type augmenter from "./augmenter.ts";
import { type ActorModules, actorUrl } from "./catalog.ts";
import { buffersOf } from "./buffers.ts";
import {
  type EvaluationResize,
  type EvaluationResizeChoice,
  resolveEvaluationResize,
} from "./evaluation_resize.ts";
import type featureEncoder from "./feature_encoder.ts";
import type { EncoderChoice } from "./feature_encoder.ts";
import { labelsOf, rowsOf } from "./labelled_features.ts";
import type { EmbeddedBatch, FeatureTaker, ReaderMonitor } from "./messages.ts";
import {
  abortable,
  brokenRowHandler,
  countPictures,
  retryAfterCrash,
  type WarningEvents,
  watchdogOf,
  withMaxPixels,
  withWarningsOnce,
} from "./recipe.ts";
import { ActorSystem } from "./runtime/mod.ts";
import type tsvReader from "./tsv_reader.ts";
import { EVALUATION_ORDER } from "./tsv_reader.ts";

/** Batches that one reader may have on their way: one in each of the stages, so that none has to wait. */
const BATCHES_UNDER_WAY = 4;

/** Rows that are thought of for each query: those that are broken give no feature. */
const CANDIDATES = 4;

/** What is embedded, and by what. */
export interface EmbeddingOptions {
  /** The encoder. */
  encoder: EncoderChoice;
  /** `feature`: pooled, without the head; `normalized`: the head's output, L2-normalised. */
  output: "feature" | "normalized";
  /** Length of a row of that. */
  dimension: number;
  /** The pictures, a path that `openDataset` knows. */
  data: string;
  /** Pictures that are embedded at once. */
  batchSize: number;
  /** Height and width of a view, in pixels. */
  imageSize: number;
  /** Pixels that a picture may have; a larger one counts as broken. */
  maxPixels?: number;
  /** How pictures become views; `auto`, which the data decides, where it is left out. */
  evalResize?: EvaluationResizeChoice;
  /** Reader Workers. */
  workers: number;
  /** Actors of one's own in the places of built-in ones. */
  actors?: ActorModules;
  /** Modules, as text of their URLs, that register encoders; every Worker imports them. */
  plugins?: string[];
  /** How many pictures, chosen by the seed, to find the k most similar ones of; `null` for none. */
  neighbours: { queries: number; k: number; seed: number } | null;
}

/** What the command line and the library take where nothing is said. */
export const EMBED_DEFAULTS: Readonly<
  Pick<EmbeddingOptions, "output" | "batchSize" | "imageSize" | "workers" | "neighbours">
> = { output: "feature", batchSize: 64, imageSize: 224, workers: 1, neighbours: null };

/** Some pictures' embeddings. */
export interface EmbeddedRows {
  /** Numbers of their rows, from 0, ascending. */
  rows: number[];
  /** Keys of their rows. */
  names: string[];
  /** -1 where there are none. */
  labels: number[];
  /** Float32 [count, dimension]. */
  embeddings: Float32Array<ArrayBuffer>;
}

/** What an embedding tells while it runs. */
export interface EmbeddingEvents extends WarningEvents {
  /** The data is open. */
  onPlan?(plan: { pictures: number; evalResize: EvaluationResize }): void;
  /** The actors are spawned, once more after a crash. */
  onActors?(actors: ActorSystem["actors"]): void;
  /** More pictures are embedded; they come in the order of their rows. */
  onRows?(embedded: EmbeddedRows): void;
}

/** The pictures that are most like one. */
export interface Neighbours {
  /** Row of the one. */
  query: number;
  /** Rows of the others, the most similar first. */
  rows: number[];
  /** Cosines of their embeddings with the one's. */
  similarities: number[];
}

/** What came of an embedding. */
export interface EmbeddingResult {
  /** How many pictures were embedded; broken ones are not. */
  pictures: number;
  /** Of each query; empty where none was wished. */
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
    // The labels are row numbers; a picture is its own nearest neighbour.
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
 * Embeds every picture that can be used. When an actor crashes all is done once more, but told of once.
 *
 * @throws {UserError} for data and checkpoints that cannot be used
 * @throws {ActorCrash} when actors fail again and again; all have been stopped then
 */
export async function runEmbedding(
  options: EmbeddingOptions,
  events: EmbeddingEvents = {},
  signal?: AbortSignal,
): Promise<EmbeddingResult> {
  const evalResize = await resolveEvaluationResize(options.evalResize, options.data, options.imageSize);
  options = await withMaxPixels({ ...options, evalResize });
  events = withWarningsOnce(events);
  using dataset = await openDataset(options.data, { onWarning: events.onWarning });
  events.onPlan?.({ pictures: dataset.rowCount, evalResize });
  let lastRow = -1;
  const firstTime: EmbeddingEvents = {
    ...events,
    onRows(embedded) {
      const { rows } = embedded;
      if (rows.length === 0 || rows[0] <= lastRow) return;
      lastRow = rows.at(-1)!;
      events.onRows?.(embedded);
    },
  };
  return await retryAfterCrash(
    events,
    () => "the beginning",
    () => embedOnce(dataset, { ...options, evalResize }, firstTime, signal),
  );
}

/** All of it, or until the first crash. */
async function embedOnce(
  dataset: Dataset,
  options: EmbeddingOptions & { evalResize: EvaluationResize },
  events: EmbeddingEvents,
  signal?: AbortSignal,
): Promise<EmbeddingResult> {
  const { dimension } = options;
  using search = await NeighbourSearch.open(options, dataset.rowCount);
  const system = new ActorSystem({ imports: options.plugins, watchdog: watchdogOf(events) });
  return await system.run(async () => {
    const taken = { pictures: 0, changed: Promise.withResolvers<void>() };
    const monitor = system.listen<ReaderMonitor>("monitor", {
      warning: (text) => events.onWarning?.(text),
      brokenRow: brokenRowHandler(events),
    });
    const taker = system.listen<FeatureTaker>("taker", {
      async take(batch) {
        const rows = readRows(batch, dimension, dataset);
        events.onRows?.(rows);
        await search?.add(rows);
        await line.readers.find(({ name }) => name === batch.home)!.tell("recycle", buffersOf(batch));
        taken.pictures += rows.rows.length;
        taken.changed.resolve();
        taken.changed = Promise.withResolvers();
      },
    });
    const line = spawnLine(system, options, taker, monitor);
    events.onActors?.(system.actors);
    return await abortable(signal, async () => {
      await line.connected;
      const patience = { timeoutMs: Infinity };
      const counts = await Promise.all(
        line.readers.map((reader) => reader.ask("read", { epoch: 0 }, patience)),
      );
      const pictures = countPictures(options.data, counts);
      while (taken.pictures < pictures) await taken.changed.promise;
      return { pictures, neighbours: await search?.find() ?? [] };
    });
  });
}

function readRows(
  { pictures, embeddings }: EmbeddedBatch,
  dimension: number,
  dataset: Dataset,
): EmbeddedRows {
  const { count } = pictures;
  const rows = rowsOf(pictures);
  return {
    rows,
    names: dataset.readKeys(rows),
    labels: labelsOf(pictures),
    embeddings: new Float32Array(embeddings).slice(0, count * dimension),
  };
}

/** The line of actors, wired from its end. */
function spawnLine(
  system: ActorSystem,
  { encoder: choice, output, dimension, data, batchSize, imageSize, maxPixels, evalResize, workers, actors }:
    & EmbeddingOptions
    & { evalResize: EvaluationResize },
  next: ReturnType<typeof system.listen<FeatureTaker>>,
  monitor: ReturnType<typeof system.listen<ReaderMonitor>>,
) {
  const { ref: encoder } = system.spawn<typeof featureEncoder>(
    "feature_encoder",
    actorUrl("feature_encoder", actors),
    { encoder: choice, output, batchSize, imageSize, next },
  );
  const { ref: views } = system.spawn<typeof augmenter>("augmenter", actorUrl("augmenter", actors), {
    batchSize,
    imageSize,
    views: { kind: "evaluation", resize: evalResize, first: { epoch: 0, batch: 0 } },
    next: encoder,
  });
  const readers = Array.from({ length: workers }, (_, worker) =>
    system.spawn<typeof tsvReader>(
      workers === 1 ? "tsv_reader" : `tsv_reader ${worker}`,
      actorUrl("tsv_reader", actors),
      {
        path: data,
        purpose: "queries",
        order: EVALUATION_ORDER,
        worker,
        workers,
        seed: 0,
        batchSize,
        maxPixels,
        viewBytes: batchSize * imageSize * imageSize * 4,
        embeddingBytes: batchSize * dimension * 4,
        batchesUnderWay: BATCHES_UNDER_WAY,
        monitor,
      },
    ).ref);
  const connected = Promise.all(readers.map((reader) => reader.tell("connect", { augmenter: views })));
  connected.catch(() => {}); // the system says why
  return { readers, connected };
}

/**
 * An embedding: every image of some data through a frozen encoder, in the data's order; and, for some
 * of them, the images that are most like them.
 *
 *     tsv_reader x workers -> augmenter -> feature_encoder -> (the caller)
 *
 * Several ranks take batches in turn, each a whole one, so that every row has the bits that one process gives it. After each round
 * all are told the rows of all, which the first rank passes on in the order of the data.
 */
import { abortable } from "../actors/abort.ts";
import { type ActorModules, actorUrl } from "../actors/catalog.ts";
import { noImages, withDecoding } from "../actors/data_facts.ts";
import { DEFAULT_WORKERS } from "../actors/default_workers.ts";
import type encoder from "../actors/encoder.ts";
import {
  type EvaluationResize,
  type EvaluationResizeChoice,
  resolveEvaluationResize,
} from "../actors/evaluation_resize.ts";
import type { ActorsEvent, Emit, NoticeEvent, ProgressEvent } from "../actors/events.ts";
import { labelsOf, rowsOf } from "../actors/labelled_features.ts";
import { type EncoderChoice, identifyEncoder } from "../actors/load_encoder.ts";
import type { EmbeddedBatch, Sink } from "../actors/messages.ts";
import { dataListener, describeRestart, listenToActors, withWarningsOnce } from "../actors/notices.ts";
import { Origins } from "../actors/origins.ts";
import { Pipeline } from "../actors/pipeline.ts";
import { CANNOT_BEGIN_AGAIN, gatherRows, type RankPeers, requireSame } from "../actors/ranks/peers.ts";
import type { RankSettings } from "../actors/ranks/ranks.ts";
import { spawnPeers } from "../actors/ranks/spawn_exchange.ts";
import { type WholeBatches, wholeBatchesOf } from "../actors/ranks/whole_batches.ts";
import { programFacts } from "./program_facts.ts";
import { requireHalf } from "./require_half.ts";
import { openSystem } from "./watched_actors.ts";
import type { ActorContext, ActorCrash } from "../actors/runtime/mod.ts";
import { EVALUATION_ORDER } from "../actors/tsv_reader.ts";
import type { Dataset } from "../data/dataset.ts";
import { fingerprintDataset } from "../data/fingerprint.ts";
import { openDataset } from "../data/open_dataset.ts";
import { Random } from "../data/random.ts";
import { UserError } from "../errors.ts";
import { type Gpu, openGpu } from "../kernels/gpu.ts";
import type { Tuning } from "../kernels/tuning/tuning.ts";
import type { EncoderPart } from "../models/encoder_parts.ts";
import { placesOfOthers, WeightedKnn } from "../models/knn.ts";
import { earlySignal } from "./rank_shares.ts";

/** Reader, augmenter, encoder, and the sink here. */
const STAGES = 4;

/** Name of the readers. */
const SOURCE = "tsv_reader";

/** Rows that are thought of for each query: those that are broken give no feature. */
const CANDIDATES = 4;

/** Of the search for neighbours: the embeddings of all images are on the device. */
const MEMORY_ADVICE = "All embeddings lie there: use data of fewer images, or leave --neighbours out";

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
  /** Decode JPEGs to a half, a quarter or an eighth of their size, where they stay twice as large as views. */
  fastDecode?: boolean;
  /** How images are resized. Default: `auto`, which decides by the data. */
  evalResize?: EvaluationResizeChoice;
  /** Keep activations and the encoder's weights in float16, as `--amp` does. */
  amp?: boolean;
  /** Kernel tuning of the adapter, from `tuneAdapter`. Default: the defaults of its kind. */
  tuning?: Tuning | null;
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

/** Receives events; the next rows come when what it returns has resolved. */
export type EmitRows = (event: EmbedEvent) => void | Promise<void>;

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

/** Without what only the data says. */
type Rows = Omit<EmbeddedRows, "names">;

/** The other ranks, and the batches that are this one's. */
interface SharedBatches extends WholeBatches {
  peers: RankPeers;
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
    return new NeighbourSearch(
      await openGpu("neighbours", options.tuning, MEMORY_ADVICE),
      options,
      options.neighbours,
      rows,
    );
  }

  /** Takes rows in, one call after the other. */
  async add({ rows, embeddings }: Rows): Promise<void> {
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
 * once; of several ranks, a crash ends all.
 *
 * @param ranks the part of this process, where several share the images; the first one alone is told of rows and neighbours
 * @throws {UserError} for data and checkpoints that cannot be used
 * @throws {ActorCrash} when actors fail again and again; all have been stopped then
 */
export async function runEmbedding(
  given: EmbeddingOptions,
  emitRows: EmitRows = () => {},
  signal?: AbortSignal,
  ranks?: RankSettings,
): Promise<EmbeddingResult> {
  if (given.amp) await requireHalf();
  const isFirst = (ranks?.rank ?? 0) === 0;
  const early = earlySignal(signal, ranks);
  const emit: Emit<EmbedEvent> = withWarningsOnce(emitRows);
  using dataset = await openDataset(given.data, dataListener(emit, early));
  const evalResize = await resolveEvaluationResize(given.evalResize, given.data, given.imageSize);
  const options = await withDecoding({
    ...given,
    neighbours: isFirst ? given.neighbours : null,
    evalResize,
  });
  early?.throwIfAborted();
  emit({ type: "plan", images: dataset.rowCount, imageSize: options.imageSize, evalResize });
  const system = openSystem(options.plugins, emit);
  const tellRestart = describeRestart(emit);
  return await system.run(async () => {
    const peers = spawnPeers(system, ranks, options.actors);
    const shared = peers && { ...wholeBatchesOf(dataset.rowCount, options.batchSize, peers), peers };
    using consumer = new Consumer(dataset, options, emitRows, shared);
    const sink = system.listen<Sink>("sink", {
      consume: (batch, context) => consumer.consume(batch, context),
    });
    const supervisor = system.supervise({
      strategy: "one-for-all",
      progress: () => consumer.lastRow,
      prepare(restart) {
        tellRestart(restart);
        if (shared !== undefined) throw new UserError(CANNOT_BEGIN_AGAIN);
        consumer.restart(restart.crash);
      },
      resume: connect,
    });
    const { batchSize, imageSize, dimension, maxPixels, leastSide, actors, data, workers } = options;
    const embedder = supervisor.spawn<typeof encoder>("feature_encoder", actorUrl("encoder", actors), () => ({
      encoder: options.encoder,
      output: options.part === "backbone" ? "feature" : "normalized",
      batchSize,
      imageSize,
      mixedPrecision: options.amp,
      tuning: options.tuning,
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
        leastSide,
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
        sources: [{
          ...{ name: SOURCE, path: data, purpose: "queries", order: EVALUATION_ORDER, workers },
          rowCount: dataset.rowCount,
          rows: shared?.rows,
        }],
      }],
      () => embedder.ref,
    );
    let isConnected = false;
    async function connect(): Promise<void> {
      consumer.connect(pipeline);
      emit({ type: "actors", actors: system.actors });
      await pipeline.connect();
      isConnected = true;
    }
    return await abortable(signal, async () => {
      // One that crashes while it starts is started again too, and connected by the restart.
      await supervisor.retry(async () => {
        if (!isConnected) await connect();
      });
      if (shared !== undefined) {
        await requireSame(shared.peers, {
          ...await programFacts(options),
          "--batch-size": batchSize,
          "--image-size": [imageSize, leastSide],
          "--eval-resize": evalResize,
          "--part": options.part,
          "the embeddings' length": dimension,
          "--amp": options.amp === true,
          "images": await fingerprintDataset(dataset),
          "the encoder's weights": await identifyEncoder(options.encoder, options.part),
        });
      }
      return await supervisor.retry(async () => {
        const search = await consumer.begin();
        const { attempt } = consumer;
        const read = { epoch: attempt };
        const images = shared === undefined
          ? await pipeline.readAll(SOURCE, read)
          : await pipeline.read(SOURCE, read);
        await consumer.until(images, attempt);
        const all = await consumer.finish();
        return { images: all, neighbours: await search?.find() ?? [] };
      });
    });
  });
}

/** What the sink's handler is given. */
type SinkContext = Pick<ActorContext<Sink>, "waitOutside">;

/** Takes what is embedded, attempt by attempt. */
class Consumer implements Disposable {
  /** From 0; grows with every restart. */
  attempt = 0;
  readonly #dataset: Dataset;
  readonly #options: EmbeddingOptions;
  readonly #emit: EmitRows;
  readonly #shared: SharedBatches | undefined;
  readonly #origins = new Origins();
  #search: NeighbourSearch | undefined;
  /** Images and batches of this process in this attempt, and images of all processes. */
  #images = 0;
  #batches = 0;
  #allImages = 0;
  #changed = Promise.withResolvers<void>();
  /** What ended the attempt before. */
  #crash: ActorCrash | undefined;
  /** The last row that was told of, in any attempt. */
  lastRow = -1;
  /** Settles when the newest batch has been consumed. */
  #consumed: Promise<void> = Promise.resolve();

  constructor(
    dataset: Dataset,
    options: EmbeddingOptions,
    emit: EmitRows,
    shared: SharedBatches | undefined,
  ) {
    this.#dataset = dataset;
    this.#options = options;
    this.#emit = emit;
    this.#shared = shared;
  }

  /** Takes the readers that buffers go back to. */
  connect({ readers }: Pipeline): void {
    this.#origins.connect(readers);
  }

  /** Begins an attempt. */
  async begin(): Promise<NeighbourSearch | undefined> {
    await this.#consumed;
    this[Symbol.dispose]();
    this.#images = this.#batches = this.#allImages = 0;
    return this.#search = await NeighbourSearch.open(this.#options, this.#dataset.rowCount);
  }

  /** Takes a batch, and gives its buffers back. */
  consume(batch: EmbeddedBatch, context: SinkContext): Promise<void> {
    return this.#consumed = this.#consume(batch, context);
  }

  async #consume(batch: EmbeddedBatch, context: SinkContext): Promise<void> {
    if (batch.position.epoch !== this.attempt) return; // left over from before a restart
    const own = readRows(batch, this.#options.dimension);
    for (const rows of await this.#gather(own)) await this.#take(rows, context);
    await this.#origins.giveBack(batch);
    this.#images += own.rows.length;
    this.#batches++;
    this.#change();
  }

  /** The rows of a round of batches, in the order of the data: those of all ranks. */
  async #gather(own: Rows): Promise<Rows[]> {
    if (this.#shared === undefined) return [own];
    const { batchSize: most, dimension: length } = this.#options;
    const tags = Int32Array.from(own.rows.flatMap((row, i) => [row, own.labels[i]]));
    const all = await gatherRows(this.#shared.peers, { tags, values: own.embeddings }, {
      most,
      width: 2,
      length,
    });
    return all.map(({ tags, values }) => ({
      rows: [...tags].filter((_, i) => i % 2 === 0),
      labels: [...tags].filter((_, i) => i % 2 === 1),
      embeddings: values,
    }));
  }

  /** Takes rows behind those before. */
  async #take(embedded: Rows, context?: SinkContext): Promise<void> {
    const { rows } = embedded;
    this.#allImages += rows.length;
    if ((this.#shared?.peers.rank ?? 0) > 0) return;
    if (rows.length > 0 && rows[0] > this.lastRow) {
      this.lastRow = rows.at(-1)!;
      // An event is the program's, which may change or transfer what is in it.
      const names = this.#dataset.readKeys(rows);
      const taken = this.#emit({ type: "rows", ...structuredClone(embedded), names });
      // A reader of the run may hold it back.
      await (context === undefined ? taken : context.waitOutside(Promise.resolve(taken)));
    }
    await this.#search?.add(embedded);
  }

  /**
   * Takes what is left of other ranks' batches when this one's have come.
   *
   * @returns how many images there were in all
   * @throws {UserError} where there was none that can be used
   */
  async finish(): Promise<number> {
    if (this.#shared === undefined) return this.#allImages;
    const nothing = { rows: [], labels: [], embeddings: new Float32Array() };
    for (let round = this.#shared.batches; round < this.#shared.rounds; round++) {
      for (const rows of await this.#gather(nothing)) await this.#take(rows);
    }
    if (this.#allImages === 0) throw new UserError(noImages(this.#options.data));
    return this.#allImages;
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
      if (this.#images >= images && this.#batches >= (this.#shared?.batches ?? 0)) return;
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

function readRows({ images, embeddings }: EmbeddedBatch, dimension: number): Rows {
  return {
    rows: rowsOf(images),
    labels: labelsOf(images),
    embeddings: new Float32Array(embeddings).slice(0, images.count * dimension),
  };
}

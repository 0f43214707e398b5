/**
 * Evaluates an encoder's pooled features by weighted kNN: the images of the bank vote for the class of each query. And says
 * which images of a probe set it finds alike.
 *
 * Images come through a reader and an augmenter of the evaluation's own, next to training and not instead of it.
 */
import { openGpu } from "../kernels/gpu.ts";
import type { Tuning } from "../kernels/tuning/tuning.ts";
import type { FrozenEncoder } from "../models/inference.ts";
import {
  accuracyOf,
  type KnnAccuracy,
  type KnnCounts,
  placesOfOthers,
  requireBankRoom,
  WeightedKnn,
} from "../models/knn.ts";
import { LabelledFeatures, labelsOf, requireFiniteFeatures, rowsOf } from "./labelled_features.ts";
import { loadFrozenEncoder } from "./load_encoder.ts";
import type { Evaluator, ProbeSetNeighbours, Purpose, ViewBatch } from "./messages.ts";
import { Origins } from "./origins.ts";
import { gatherFeatures, gatherLabels } from "./ranks/gather_features.ts";
import { gatherIntegers, type RankPeers } from "./ranks/peers.ts";
import { type ActorRef, defineActor, type Message, urgent } from "./runtime/mod.ts";

/** Configuration of an `evaluator` actor. */
export interface EvaluatorConfig {
  /** Images per batch. */
  batchSize: number;
  /** Side of a view, in pixels. */
  imageSize: number;
  /** Numbers of neighbours (k) to evaluate. */
  ks: readonly number[];
  /** Temperature of the votes. */
  temperature: number;
  /** Images that vote, of all ranks: there must be room for their features before any is embedded. Default: it is looked for later. */
  voters?: number;
  /** Keep activations and the encoder's weights in float16. */
  mixedPrecision?: boolean;
  /** Kernel tuning of the adapter. */
  tuning?: Tuning | null;
  /** The other ranks, where several share the images: each has every so-many-th batch, and classifies the queries of its own. */
  ranks?: RankPeers;
  /** What people are told to do where the device's memory does not suffice. */
  memoryAdvice?: string;
  /** Receives the number of images embedded so far. */
  watcher?: ActorRef<EvaluationWatcher>;
}

/** Receives the progress of an evaluation. */
export type EvaluationWatcher = {
  /** Images that have been embedded since `use`. */
  embedded: Message<number>;
};

/** Labels up to which each has a class of its own, used or not. */
const MOST_CLASSES = 2 ** 16;

/**
 * Classes that labels are voted for as: the labels themselves, or, where these are too large to be numbers of classes (as
 * those of somebody's database are), their places among the labels that there are.
 */
export function indexLabels(
  labels: readonly number[],
): { classes: number; indexOf: (label: number) => number } {
  const classes = labels.reduce((most, label) => Math.max(most, label), 0) + 1;
  if (classes <= MOST_CLASSES) return { classes, indexOf: (label) => label };
  const places = new Map([...new Set(labels)].sort((a, b) => a - b).map((label, i) => [label, i]));
  return { classes: places.size, indexOf: (label) => places.get(label)! };
}

/** Sums of what each rank has counted. */
async function countAll(ranks: RankPeers, { queries, top1, top5 }: KnnCounts): Promise<KnnCounts> {
  const counts = await gatherIntegers(ranks, [queries, top1, top5]);
  const sum = (of: number) => counts.reduce((sum, found) => sum + found[of], 0);
  return { queries: sum(0), top1: sum(1), top5: sum(2) };
}

/** What has been embedded so far, by what it is for. Images without a class neither vote nor are classified. */
class Sets {
  readonly bank: LabelledFeatures;
  readonly queries: LabelledFeatures;
  readonly probeSet: LabelledFeatures;
  /** Of the probe set: rows of the data, and views, a batch at a time. */
  readonly probeRows: number[] = [];
  readonly probeViews: ArrayBuffer[] = [];
  /** Images that came, those without a class too. */
  readonly came: Record<Purpose, number> = { train: 0, bank: 0, queries: 0, probes: 0 };

  get images(): number {
    return this.came.bank + this.came.queries + this.came.probes;
  }

  constructor(dimension: number) {
    this.bank = new LabelledFeatures(dimension);
    this.queries = new LabelledFeatures(dimension);
    this.probeSet = new LabelledFeatures(dimension);
  }

  add({ images, purpose, views }: ViewBatch, features: Float32Array<ArrayBuffer>, viewBytes: number): void {
    this.came[purpose] += images.count;
    const labels = labelsOf(images);
    if (purpose === "bank" || purpose === "queries") return this[purpose].addLabelled(features, labels);
    this.probeSet.add(features, labels);
    this.probeRows.push(...rowsOf(images));
    this.probeViews.push(views.slice(0, images.count * viewBytes));
  }
}

export default defineActor<Evaluator, EvaluatorConfig>(async (config, context) => {
  const { batchSize, imageSize, ks, temperature, voters, mixedPrecision, tuning, ranks, watcher } = config;
  const gpu = await openGpu(context.name, tuning, config.memoryAdvice);
  context.onStop(() => gpu.destroy());
  const origins = new Origins();
  let encoder: FrozenEncoder | undefined;
  let sets = new Sets(0);
  let onProgress = Promise.withResolvers<void>();

  async function embed(batch: ViewBatch): Promise<void> {
    const features = await encoder!.embed(batch.views);
    requireFiniteFeatures(features, encoder!.dimension, batch.images);
    sets.add(batch, features.slice(0, batch.images.count * encoder!.dimension), imageSize * imageSize * 4);
  }

  async function until(isThere: () => boolean): Promise<void> {
    while (!isThere()) await context.wait(onProgress.promise);
  }

  async function survey(neighbours: number, withViews: boolean): Promise<ProbeSetNeighbours> {
    const { probeSet, probeRows: rows } = sets;
    const probeViews = sets.probeViews.splice(0); // some megabytes, of no more use
    const { labels, dimension } = probeSet;
    const features = probeSet.concatenate();
    const count = labels.length;
    const k = Math.min(neighbours, count - 1);
    const views = withViews ? new Uint8Array(await new Blob(probeViews).arrayBuffer()) : undefined;
    const found = {
      rows,
      labels,
      features,
      dimension,
      neighbours: new Uint32Array(count * k),
      similarities: new Float32Array(count * k),
      k,
      ...views && { views: { pixels: views, size: imageSize } },
    };
    if (k < 1) return { ...found, k: 0 };
    // The labels are places in the probe set; an image is its own nearest neighbour.
    using knn = new WeightedKnn(gpu, { dimension, classes: count, k: k + 1, batch: Math.min(count, 256) });
    await knn.addToBank(features, labels.keys().toArray());
    const nearest = await knn.nearest(features);
    for (let place = 0; place < count; place++) {
      for (const [i, other] of placesOfOthers(nearest, place, place).entries()) {
        found.neighbours[place * k + i] = nearest.labels[other];
        found.similarities[place * k + i] = nearest.similarities[other];
      }
    }
    return found;
  }

  return {
    handlers: {
      connect: ({ readers }) => origins.connect(readers),

      async use(source) {
        encoder?.[Symbol.dispose]();
        encoder = await loadFrozenEncoder(gpu, source, {
          ...{ batch: batchSize, imageSize, mixedPrecision },
          output: "feature",
        });
        sets = new Sets(encoder.dimension);
        if (voters !== undefined) await requireBankRoom(gpu, encoder.dimension, voters);
      },

      async encode(batch) {
        await embed(batch);
        watcher?.tell("embedded", sets.images).catch(() => {}); // it has ended, and the run with it
        await origins.giveBack(batch);
        onProgress.resolve();
        onProgress = Promise.withResolvers();
      },

      findNeighbours: urgent(async ({ images, neighbours, views }) => {
        const { came } = sets;
        await until(() => came.probes >= images);
        return await survey(neighbours, views);
      }),

      score: urgent(async (expected) => {
        const { bank: ownBank, queries, came } = sets;
        await until(() => came.bank >= expected.bank && came.queries >= expected.queries);
        // Between the evaluations of a training nobody needs a gigabyte of features.
        sets = new Sets(ownBank.dimension);
        const bank = ranks === undefined ? ownBank : await gatherFeatures(ranks, ownBank, batchSize);
        const queryLabels = ranks === undefined ? queries.labels : await gatherLabels(ranks, queries.labels);
        if (bank.labels.length === 0 || queryLabels.length === 0) return [];
        const { classes, indexOf } = indexLabels([...bank.labels, ...queryLabels]);
        const { dimension } = bank;
        using knn = new WeightedKnn(gpu, { dimension, classes, k: Math.max(...ks), temperature });
        let at = 0;
        // What is on the device is needed here no more.
        for (const chunk of bank.takeChunks()) {
          const rows = chunk.length / dimension;
          await knn.addToBank(chunk, bank.labels.slice(at, at + rows).map(indexOf));
          at += rows;
        }
        const features = queries.concatenate();
        queries.chunks.length = 0;
        const accuracies: KnnAccuracy[] = [];
        for (const k of ks) {
          const own = await knn.count(features, queries.labels.map(indexOf), k);
          accuracies.push(accuracyOf(ranks === undefined ? own : await countAll(ranks, own)));
        }
        return accuracies;
      }),
    },
  };
});

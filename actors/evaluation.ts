/**
 * The line of actors that evaluates encoders, alone or next to training: by weighted kNN, and by the nearest neighbours that
 * they find in a probe set.
 *
 *     bank_reader, query_reader, probe_reader -> evaluation_augmenter -> evaluator
 */
import type { Tuning } from "../kernels/tuning/tuning.ts";
import { type ActorModules, actorUrl } from "./catalog.ts";
import { noImages } from "./data_facts.ts";
import type evaluator from "./evaluator.ts";
import type { EvaluationWatcher } from "./evaluator.ts";
import type { EvaluationResize } from "./evaluation_resize.ts";
import type { Monitor } from "./events.ts";
import type { Accuracy, EvaluatedEncoder, Evaluator, ProbeSetNeighbours } from "./messages.ts";
import type { ImageCaches } from "./image_caches.ts";
import { PATIENCE, Pipeline, type Source } from "./pipeline.ts";
import { gatherIntegers, type RankPeers } from "./ranks/peers.ts";
import type { ActorCrash, ActorRef, ActorSystem, Restart, SupervisorOptions } from "./runtime/mod.ts";
import { EVALUATION_ORDER, type ReadingOrder } from "./tsv_reader.ts";

/** Bytes of a storage binding that every WebGPU device has at least. */
const LEAST_BINDING_BYTES = 2 ** 27;

/** Numbers of images to embed at once. Each divides 100, so that a probe set is whole batches. */
const BATCH_SIZES = [100, 50, 25, 20, 10, 5, 4, 2, 1] as const;

/**
 * Returns how many images an evaluation embeds at once: 100, or fewer whose views fit one binding of every device.
 *
 * @param imageSize side of a view, in pixels
 */
export function evaluationBatchSize(imageSize: number): number {
  return BATCH_SIZES.find((count) => 4 * count * imageSize ** 2 <= LEAST_BINDING_BYTES) ?? 1;
}

/** Reader, augmenter, evaluator. */
const STAGES = 3;

/** Names of the readers. */
const [BANK, QUERIES, PROBES] = ["bank_reader", "query_reader", "probe_reader"];

/** What is read of them. */
const WHOLE = { epoch: 0 };

/** The probe set's images are spread over the data. */
const PROBE_SET_ORDER: ReadingOrder = { ...EVALUATION_ORDER, shuffle: true };

/** Settings of a weighted kNN evaluation. */
export interface KnnSettings {
  /** Images that vote: a path that `openDataset` accepts. */
  bankData: string;
  /** Images to classify: a path that `openDataset` accepts. */
  queryData: string;
  /** How many rows they had when the run began; a reader refuses others. Default: not compared. */
  bankRowCount?: number;
  /** The same of those to classify. */
  queryRowCount?: number;
  /** Images that vote, of all ranks: the device is asked for room before any is embedded. Default: it is asked as they come. */
  voters?: number;
  /** Rows that vote, ascending. Default: all. */
  bankRows?: Uint32Array<ArrayBuffer>;
  /** Rows to classify, ascending. Default: all. */
  queryRows?: Uint32Array<ArrayBuffer>;
  /** Numbers of neighbours (k) to evaluate. */
  ks: readonly number[];
  /** Temperature of the votes. */
  temperature: number;
}

/** Settings of a probe set: images on which encoders are compared. */
export interface ProbeSetSettings {
  /** Path of the images. */
  data: string;
  /** How many there were when the run began; a reader refuses others. Default: not compared. */
  rowCount?: number;
  /** Maximum number of images, a multiple of 100. */
  images: number;
  /** Nearest neighbours to find for each image. */
  neighbours: number;
  /** Seed that chooses the images. */
  seed: number;
}

/** Settings of an evaluation pipeline. */
export interface EvaluationSettings {
  /** Stands before the names of its actors, where a run has several. */
  prefix?: string;
  /** Height and width of a view, in pixels. */
  imageSize: number;
  /** Maximum pixels of an image; a larger one counts as broken. */
  maxPixels?: number;
  /** JPEGs whose shorter side stays so long, in pixels, are decoded at a fraction of their size. Default: none is. */
  leastSide?: number;
  /** Where decoded images are kept. Default: nowhere. */
  caches?: ImageCaches;
  /** How images are resized. Default: torchvision's rule. */
  evalResize?: EvaluationResize;
  /** Keep activations and the encoder's weights in float16. */
  mixedPrecision?: boolean;
  /** Kernel tuning of the adapter, from `tuneAdapter`. */
  tuning?: Tuning | null;
  /** Custom actors that replace built-in ones. */
  actors?: ActorModules;
  /** Maximum number of restarts of its actors within 10 minutes. Default: 3 within a minute. */
  maxRestarts?: number;
  /** What people are told to do where the device's memory does not suffice. Default: a smaller batch. */
  memoryAdvice?: string;
  /** kNN evaluation, if any. */
  knn?: KnnSettings;
  /** Nearest neighbours in a probe set, if any. */
  probeSet?: ProbeSetSettings;
  /** The other ranks of a kNN evaluation, where several share its images. Rows that vote, and rows to classify, are then this one's. */
  ranks?: RankPeers;
}

/** What is asked of one encoder; of what the line is for, all of it where nothing is said. */
export interface EvaluationWishes {
  /** Evaluate it by kNN. */
  knn?: boolean;
  /** The probe set's images too. */
  views?: boolean;
  /** Told how many images have been embedded, now and then; anew after a crash. */
  onProgress?(images: number): void;
}

/** What came of one encoder. */
export interface Evaluation {
  /** By each number of neighbours. */
  accuracies?: Accuracy[];
  /** Why there are none, where some were wished for. */
  noAccuracies?: string;
  /** Its nearest neighbours in the probe set. */
  neighbours?: ProbeSetNeighbours;
}

/** Evaluates one encoder. */
type Evaluate = (encoder: EvaluatedEncoder, wishes?: EvaluationWishes) => Promise<Evaluation>;

/** Within which time restarts are counted, in ms. */
export const RESTARTS_WITHIN_MS = 10 * 60_000;

/** After so many crashes within that time there is no more probe set. */
const MOST_CRASHES_OF_PROBE_SET = 3;

/** Who is told of a line's crashes. */
interface LineHooks {
  onRestart(restart: Restart): void;
  /** Some of it could not be mended: there will be no more probe sets, and the run goes on. */
  onNoProbeSet(crash: ActorCrash): void;
}

/**
 * Spawns the line, and returns the function that has it evaluate an encoder; one at a time. All are started again when one
 * crashes, and the encoder that it was about is evaluated once more.
 *
 * The probe set only observes a run: where the line crashes again and again, it is spawned anew without a probe set, or, where
 * it was for that alone, no more. Crashes of a line without a probe set end the run.
 */
export function spawnEvaluation(
  system: ActorSystem,
  settings: EvaluationSettings,
  monitor: ActorRef<Monitor>,
  { onRestart, onNoProbeSet }: LineHooks,
): Evaluate {
  const { probeSet, ...others } = settings;
  const { prefix = "", maxRestarts } = settings;
  const watch: Watch = {
    onProgress() {},
    watcher: system.listen<EvaluationWatcher>(`${prefix}evaluation`, {
      embedded: (images) => watch.onProgress(images),
    }),
  };
  const limits = maxRestarts === undefined ? {} : { maxRestarts, withinMs: RESTARTS_WITHIN_MS };
  const supervision = { prepare: onRestart, ...limits };
  if (probeSet === undefined) return spawnLine(system, settings, monitor, watch, supervision);
  let givenUp: ActorCrash | undefined;
  const line = spawnLine(system, settings, monitor, watch, {
    prepare: onRestart,
    maxRestarts: Math.min(MOST_CRASHES_OF_PROBE_SET, maxRestarts ?? Infinity),
    withinMs: RESTARTS_WITHIN_MS,
    onGiveUp(crash) {
      givenUp = crash;
      onNoProbeSet(crash);
    },
  });
  let withoutProbeSet: Evaluate | undefined;
  return async (encoder, wishes) => {
    try {
      return await line(encoder, wishes);
    } catch (error) {
      if (givenUp === undefined) throw error;
      if (settings.knn === undefined) return {};
      withoutProbeSet ??= spawnLine(system, others, monitor, watch, supervision);
      return await withoutProbeSet(encoder, wishes);
    }
  };
}

/** Who is told how far the evaluation under way is. */
interface Watch {
  onProgress(images: number): void;
  readonly watcher: ActorRef<EvaluationWatcher>;
}

function spawnLine(
  system: ActorSystem,
  {
    prefix = "",
    imageSize,
    maxPixels,
    leastSide,
    caches,
    evalResize,
    mixedPrecision,
    tuning,
    actors,
    memoryAdvice,
    knn,
    probeSet,
    ranks,
  }: EvaluationSettings,
  monitor: ActorRef<Monitor>,
  watch: Watch,
  supervision: Omit<SupervisorOptions, "strategy" | "resume">,
): Evaluate {
  const batchSize = evaluationBatchSize(imageSize);
  /** Grows with each evaluation that is done. */
  let finished = 0;
  /** Of the evaluation under way: the most images that any attempt has embedded. */
  let furthest: number | undefined;
  const supervisor = system.supervise({
    strategy: "one-for-all",
    progress: () => furthest === undefined ? undefined : finished + furthest,
    resume: connect,
    ...supervision,
  });
  const evaluate = supervisor.spawn<typeof evaluator>(
    `${prefix}evaluator`,
    actorUrl("evaluator", actors),
    () => ({
      batchSize,
      imageSize,
      ks: knn?.ks ?? [],
      temperature: knn?.temperature ?? 1,
      voters: knn?.voters,
      mixedPrecision,
      tuning,
      ranks,
      memoryAdvice,
      watcher: watch.watcher,
    }),
  );
  const [bankName, queriesName, probesName] = [BANK, QUERIES, PROBES].map((name) => prefix + name);
  const sources: Source[] = [
    ...knn === undefined ? [] : [
      {
        name: bankName,
        path: knn.bankData,
        rowCount: knn.bankRowCount,
        rows: knn.bankRows,
        purpose: "bank",
        order: EVALUATION_ORDER,
      } as const,
      {
        name: queriesName,
        path: knn.queryData,
        rowCount: knn.queryRowCount,
        rows: knn.queryRows,
        purpose: "queries",
        order: EVALUATION_ORDER,
      } as const,
    ],
    ...probeSet === undefined ? [] : [
      {
        name: probesName,
        path: probeSet.data,
        rowCount: probeSet.rowCount,
        purpose: "probes",
        order: PROBE_SET_ORDER,
        seed: probeSet.seed,
      } as const,
    ],
  ];
  const pipeline = new Pipeline(
    supervisor,
    {
      ...{ batchSize, imageSize, embeddingLength: 0, stages: STAGES },
      ...{ maxPixels, leastSide, caches, actors, monitor },
    },
    [{
      name: `${prefix}evaluation_augmenter`,
      views: () => ({ kind: "evaluation", resize: evalResize }),
      sources,
    }],
    () => evaluate.ref,
  );
  async function connect(): Promise<void> {
    await pipeline.connect(evaluate.ref);
  }

  async function score(
    evaluator: ActorRef<Evaluator>,
    { bankData, queryData }: KnnSettings,
    bank: number,
    queries: number,
  ): Promise<Pick<Evaluation, "accuracies" | "noAccuracies">> {
    const counts = ranks === undefined ? [[bank, queries]] : await gatherIntegers(ranks, [bank, queries]);
    if (counts.every(([bank]) => bank === 0)) return { noAccuracies: noImages(bankData) };
    if (counts.every(([, queries]) => queries === 0)) return { noAccuracies: noImages(queryData) };
    const accuracies = await evaluator.ask("score", { bank, queries }, PATIENCE);
    if (accuracies.length > 0) return { accuracies };
    return { noAccuracies: `${bankData} or ${queryData} has no class labels` };
  }
  let turn: Promise<unknown> = connect().catch(() => {}); // the system says why
  return (encoder, wishes = {}) => {
    const wantsKnn = knn !== undefined && wishes.knn !== false;
    const attempt = () =>
      supervisor.retry(async (): Promise<Evaluation> => {
        watch.onProgress = (images) => {
          if (furthest !== undefined) furthest = Math.max(furthest, images);
          wishes.onProgress?.(images);
        };
        // The same one to the end: the next one after a crash would wait for images that it does not get.
        const evaluator = evaluate.ref;
        await evaluator.ask("use", encoder, { ...PATIENCE, transfer: [] });
        const [bank, queries, images] = await Promise.all([
          wantsKnn ? pipeline.read(bankName, WHOLE) : 0,
          wantsKnn ? pipeline.read(queriesName, WHOLE) : 0,
          probeSet !== undefined
            ? pipeline.read(probesName, { epoch: 0, endBatch: probeSet.images / batchSize })
            : 0,
        ]);
        return {
          ...probeSet !== undefined && images > 0 && {
            neighbours: await evaluator.ask("findNeighbours", {
              images,
              neighbours: probeSet.neighbours,
              views: wishes.views ?? false,
            }, PATIENCE),
          },
          ...wantsKnn && await score(evaluator, knn, bank, queries),
        };
      });
    const result = turn.then(async () => {
      furthest = 0;
      try {
        return await attempt();
      } finally {
        finished += furthest + 1;
        furthest = undefined;
      }
    });
    turn = result.catch(() => {});
    return result;
  };
}

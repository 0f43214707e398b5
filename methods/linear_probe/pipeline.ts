/** The actors of a linear evaluation: how they are wired. */
import { actorUrl } from "../../actors/catalog.ts";
import type { DataFacts } from "../../actors/data_facts.ts";
import type encoder from "../../actors/encoder.ts";
import type { Monitor } from "../../actors/events.ts";
import type { ImageCaches } from "../../actors/image_caches.ts";
import { type Branch, Pipeline } from "../../actors/pipeline.ts";
import type { RankPeers } from "../../actors/ranks/peers.ts";
import { rowsOf, type Share, shareOf } from "../../actors/ranks/ranks.ts";
import type { ActorRef, Supervised, Supervisor } from "../../actors/runtime/mod.ts";
import { EVALUATION_ORDER, TRAINING_ORDER } from "../../actors/tsv_reader.ts";
import { isIn } from "../output_folder.ts";
import type { LinearActorEvent } from "./events.ts";
import type linearTrainer from "./linear_trainer.ts";
import type { LinearTrainer } from "./messages.ts";
import type { PreparedEvaluation, ResolvedOptions } from "./prepare.ts";

/** Reader, augmenter, encoder, trainer. */
const STAGES = 4;

/** Names of the readers. */
export const TRAIN = "train_reader";
export const TEST = "test_reader";

/** Name of the augmentation of the images to learn from: random crops and flips. */
export const AUGMENTATION = "plain";

/** What a linear evaluation's actors are made from. */
export interface LinearSetup extends Omit<PreparedEvaluation, "start"> {
  /** Length of a feature. */
  features: number;
  /** Whether there is anything to learn from. */
  trains: boolean;
  /** Where decoded images are kept. */
  caches: ImageCaches;
  /** The other ranks, where several share every batch. */
  peers: RankPeers | undefined;
  monitor: ActorRef<Monitor<LinearActorEvent>>;
  /** Where those that are started next begin. */
  start(): { epoch: number; extraSteps?: number; resume: string | null };
}

/**
 * Returns the way of the images to classify.
 *
 * @param share of each batch that this process takes; the whole where it is left out
 */
export function testBranch(
  { testData: path, evalResize: resize, seed, workers }: Pick<
    ResolvedOptions,
    "testData" | "evalResize" | "seed" | "workers"
  >,
  { rowCount }: Pick<DataFacts, "rowCount">,
  share?: Share,
): Branch {
  return {
    name: "test_augmenter",
    views: () => ({ kind: "evaluation", resize, first: { epoch: 0, batch: 0 } }),
    sources: [{
      name: TEST,
      path,
      rowCount,
      purpose: "queries",
      order: EVALUATION_ORDER,
      share,
      seed,
      workers,
    }],
  };
}

/** Spawns them, from the end. */
export function spawnLinearPipeline(
  supervisor: Supervisor,
  { options, data, batchesPerEpoch, features, classes, terms, trains, caches, peers, monitor, start }:
    LinearSetup,
): { trainer: Supervised<LinearTrainer>; pipeline: Pipeline } {
  const { workers, seed, imageSize, cacheFeatures, evaluate, actors, tuning } = options;
  const batchSize = rowsOf(options.batchSize, peers);
  const share = shareOf(peers);
  const { arch, which, weights } = options;
  // Each checkpoint of a linear evaluation has the encoder, and the one that was begun with is removed when there is a newer one.
  const isOwn = options.pretrained !== null && options.pretrained === options.resume;
  const isFromElsewhere = options.resume !== null && !isIn(options.output, options.resume);
  const encoderFile = () => isOwn ? start().resume : options.pretrained;
  const trainer = supervisor.spawn<typeof linearTrainer>(
    "linear_trainer",
    actorUrl("linear_trainer", actors, import.meta.url),
    () => ({
      options: { ...options, pretrained: encoderFile(), resume: start().resume },
      features,
      classes,
      keepsQueries: cacheFeatures && !evaluate,
      isFromElsewhere,
      steps: { batchesPerEpoch, extraSteps: start().extraSteps },
      terms,
      ranks: peers && { ...peers, trainImages: data.trainImages, epoch: start().epoch },
      monitor,
    }),
  );
  const embedder = supervisor.spawn<typeof encoder>("feature_encoder", actorUrl("encoder", actors), () => {
    const path = encoderFile();
    return {
      encoder: path === null ? { arch, seed } : { path, arch, which, weights },
      output: "feature",
      batchSize,
      imageSize,
      mixedPrecision: options.amp,
      tuning,
      next: trainer.ref,
    };
  });
  const test = testBranch(options, data.test, share);
  const plain = () => {
    const first = { epoch: start().epoch, batch: 0 };
    return { kind: "training", augmentation: AUGMENTATION, seed, first } as const;
  };
  const train: Branch = {
    name: "train_augmenter",
    views: cacheFeatures ? test.views : plain,
    sources: [{
      name: TRAIN,
      path: options.data,
      rowCount: data.train.rowCount,
      purpose: cacheFeatures ? "bank" : "train",
      // Kept features are shuffled by who keeps them.
      order: { ...TRAINING_ORDER, shuffle: !cacheFeatures, dropLast: false },
      rows: data.rows,
      share,
      seed,
      workers,
    }],
  };
  const pipeline = new Pipeline(
    supervisor,
    {
      batchSize,
      imageSize,
      embeddingLength: features,
      stages: STAGES,
      maxPixels: options.maxPixels,
      leastSide: options.leastSide,
      caches,
      actors,
      monitor,
    },
    trains ? [train, test] : [test],
    () => embedder.ref,
  );
  return { trainer, pipeline };
}

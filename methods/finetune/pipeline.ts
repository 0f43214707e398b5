/** The actors of a fine-tuning: how they are wired. */
import { actorUrl } from "../../actors/catalog.ts";
import type { Monitor } from "../../actors/events.ts";
import type { ImageCaches } from "../../actors/image_caches.ts";
import { type RankSettings, rowsOf, shareOf } from "../../actors/ranks/ranks.ts";
import type { RankPeers } from "../../actors/ranks/peers.ts";
import { type Branch, Pipeline } from "../../actors/pipeline.ts";
import type { ActorRef, Supervised, Supervisor } from "../../actors/runtime/mod.ts";
import { TRAINING_ORDER } from "../../actors/tsv_reader.ts";
import { AUGMENTATION, testBranch, TRAIN } from "../linear_probe/pipeline.ts";
import type { FinetuneActorEvent } from "./events.ts";
import type finetuneTrainer from "./finetune_trainer.ts";
import type { FinetuneTrainer } from "./messages.ts";
import type { FinetuneStart, PreparedFinetune } from "./prepare.ts";

/** Reader, augmenter, trainer. */
const STAGES = 3;

/** What a fine-tuning's actors are made from. */
export interface FinetuneSetup extends Omit<PreparedFinetune, "start"> {
  /** Where decoded images are kept. */
  caches: ImageCaches;
  /** The other ranks, where several share every batch. */
  ranks: RankPeers & Pick<RankSettings, "bucketBytes"> | undefined;
  monitor: ActorRef<Monitor<FinetuneActorEvent>>;
  /** Where those that are started next begin. */
  from(): { start: FinetuneStart; resume: string | null };
}

/** Spawns them, from the end. */
export function spawnFinetunePipeline(
  supervisor: Supervisor,
  { options, data, classes, batchesPerEpoch, terms, caches, ranks, monitor, from }: FinetuneSetup,
): { trainer: Supervised<FinetuneTrainer>; pipeline: Pipeline } {
  const { workers, seed, imageSize, maxPixels, leastSide, actors } = options;
  const batchSize = rowsOf(options.batchSize, ranks);
  const share = shareOf(ranks);
  const trainer = supervisor.spawn<typeof finetuneTrainer>(
    "finetune_trainer",
    actorUrl("finetune_trainer", actors, import.meta.url),
    () => {
      const { start, resume } = from();
      return { options: { ...options, resume }, classes, batchesPerEpoch, start, terms, ranks, monitor };
    },
  );
  const train: Branch = {
    name: "train_augmenter",
    views() {
      const { start: { epoch, batch } } = from();
      return { kind: "training", augmentation: AUGMENTATION, seed, first: { epoch, batch } };
    },
    sources: [
      {
        name: TRAIN,
        path: options.data,
        rowCount: data.train.rowCount,
        purpose: "train",
        order: TRAINING_ORDER,
        rows: data.rows,
        share,
        seed,
        workers,
      },
    ],
  };
  const test = testBranch(options, data.test, share);
  const pipeline = new Pipeline(
    supervisor,
    {
      ...{ batchSize, imageSize, embeddingLength: 0, stages: STAGES },
      ...{ maxPixels, leastSide, caches, actors, monitor },
    },
    options.evaluate ? [test] : [train, test],
    () => trainer.ref,
  );
  return { trainer, pipeline };
}

/**
 * MoCo as a method that trains an encoder: two views of each image go to one trainer, which has both encoders and the queue.
 *
 *     tsv_reader x workers -> augmenter -> moco_trainer
 */
import { actorUrl } from "../../actors/catalog.ts";
import type { EncoderMethod } from "../encoder_training/method.ts";
import { PRETRAINED } from "./encoders.ts";
import type mocoTrainer from "./moco_trainer.ts";
import { augmentationOf, type PretrainOptions } from "./options.ts";
import { pretrainTerms } from "./terms.ts";

/** How an encoder is pretrained. */
export const PRETRAINING: EncoderMethod<PretrainOptions> = {
  ...PRETRAINED,
  stages: 3, // reader, augmenter, trainer
  devices: 1,
  views(options) {
    const augmentation = augmentationOf(options);
    // The second view of an image, which the key encoder embeds, travels as the one local view of multi-crop does.
    return {
      augmentation,
      local: { views: 1, imageSize: options.imageSize, augmentation },
      embeddingLength: 0,
    };
  },
  identify: () => Promise.resolve([]),
  terms: pretrainTerms,
  teacher: () => undefined,
  spawn({ supervisor, options, trainer }) {
    const pretrainer = supervisor.spawn<typeof mocoTrainer>(
      "moco_trainer",
      actorUrl("moco_trainer", options.actors, import.meta.url),
      trainer,
    );
    return { trainer: pretrainer, entry: () => pretrainer.ref, profiled: [] };
  },
};

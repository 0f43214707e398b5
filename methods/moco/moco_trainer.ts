/** Trains MoCo's query encoder on two views of each image; the key encoder follows it. */
import type { ViewBatch } from "../../actors/messages.ts";
import { defineTrainer } from "../../actors/trainer.ts";
import { type EncoderTrainerConfig, EncoderTraining } from "../encoder_training/encoder_trainer.ts";
import { PRETRAINED } from "./encoders.ts";
import type { MocoTrainer } from "./messages.ts";
import type { PretrainOptions } from "./options.ts";
import { MocoStep } from "./step.ts";

/** How the trainer of a pretraining is started. */
export type MocoTrainerConfig = EncoderTrainerConfig<PretrainOptions>;

export default defineTrainer<MocoTrainer, MocoTrainerConfig>(async (trainer, config) => {
  const { options } = config;
  const { mocoT: temperature, mocoM: keyMomentum, bnSplits: splits } = options;
  const training = await EncoderTraining.start<PretrainOptions, ViewBatch, MocoStep>(
    trainer,
    config,
    PRETRAINED,
    async (gpu, shared, exchange) => {
      const step = await MocoStep.create(gpu, { ...shared, temperature, keyMomentum, splits }, exchange);
      return {
        step,
        submit: ({ views, local }, settings) => step.run({ queries: views, keys: local!.views, ...settings }),
        firstTarget: () => step.readKeys(),
        temperatures: { temperature, teacherTemperature: temperature },
        advice: [`a higher --moco-t (now ${temperature})`],
        beside: async (named) => ({ tensors: named(await step.saveKeyEncoder()) }),
      };
    },
  );
  return { ...training.handlers, encode: (batch) => training.train(batch) };
});

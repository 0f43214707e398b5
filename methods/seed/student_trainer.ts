/** Trains the student on batches that have the teacher's embeddings and their place in the queue. */
import { defineTrainer, type Trainer } from "../../actors/trainer.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { inputOf } from "../../models/encoder_input.ts";
import { DEFAULT_LOSS, ignoresTemperature } from "../../models/loss/losses.ts";
import {
  type EncoderBeside,
  type EncoderTrainerConfig,
  EncoderTraining,
} from "../encoder_training/encoder_trainer.ts";
import { resizedBy } from "../encoder_views.ts";
import { localViewsOf, teacherMapOf, teacherSizeOf } from "./augmentation.ts";
import type { KeyedBatch, StudentTrainer } from "./messages.ts";
import { type DistillOptions, teacherPart } from "./options.ts";
import { StudentStep } from "./step.ts";
import { DISTILLED } from "./student.ts";

/** How a student's trainer is started. */
export type StudentTrainerConfig = EncoderTrainerConfig<DistillOptions>;

/**
 * Opens the frozen teacher for checkpoints. Its file stays open: all have the teacher that the run began with, whatever takes the
 * file's place meanwhile.
 */
async function openTeacher(trainer: Trainer, options: DistillOptions): Promise<EncoderBeside> {
  const source = trainer.keep(
    await openEncoderSource(options.distill, {
      arch: options.teacherArch,
      weights: options.weights,
      part: teacherPart(options),
    }),
  );
  const views = { imageSize: teacherSizeOf(options), ...resizedBy(options.evalResize) };
  return {
    tensors: new Map([...source.tensors, ...source.unused]),
    input: inputOf(source.encoder, views, source.input),
  };
}

export default defineTrainer<StudentTrainer, StudentTrainerConfig>(async (trainer, config) => {
  const { options } = config;
  const { temp: temperature, distillT: teacherTemperature, dim } = options;
  const teacher = await openTeacher(trainer, options);
  const training = await EncoderTraining.start<DistillOptions, KeyedBatch, StudentStep>(
    trainer,
    config,
    DISTILLED,
    async (gpu, shared, exchange) => {
      const step = await StudentStep.create(gpu, {
        ...shared,
        local: localViewsOf(options),
        temperature,
        teacherTemperature,
        loss: options.loss,
        teacherMap: teacherMapOf(options),
        tokenTemperature: options.tokenT,
        tokenWeight: options.tokenWeight,
      }, exchange);
      return {
        step,
        submit: ({ views, embeddings, maps, local }, settings) =>
          step.run({
            images: views,
            teacher: new Float32Array(embeddings),
            ...maps && { maps: new Float32Array(maps) },
            ...local && { local: { images: local.views, teacher: new Float32Array(local.embeddings) } },
            ...settings,
          }),
        firstTarget: ({ embeddings }) => new Float32Array(embeddings.slice(0, 4 * dim)),
        temperatures: { temperature, teacherTemperature },
        advice: ignoresTemperature(options.loss ?? DEFAULT_LOSS, "teacherTemperature")
          ? []
          : [`a higher --distill-t (now ${teacherTemperature})`],
        beside: () => Promise.resolve(teacher),
      };
    },
  );
  return { ...training.handlers, train: (batch) => training.train(batch, batch.queuePointer) };
});

/** From a distillation's options to its learning-rate schedule. */
import { batchScale, type Schedule } from "../models/optim/schedule.ts";
import type { DistillOptions } from "./options.ts";

/** The schedule that `distillLearningRate` takes. */
export function scheduleOf(options: DistillOptions): Schedule {
  const { lr, scaleLr, batchSize, warmupEpochs, epochs, cos, schedule } = options;
  return { lr, scale: scaleLr ? batchScale(batchSize) : 1, warmupEpochs, epochs, cos, milestones: schedule };
}

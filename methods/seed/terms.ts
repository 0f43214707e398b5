/** The terms of a distillation. */
import type { Term } from "../../models/checkpoint/run_terms.ts";
import { DEFAULT_LOSS, usesMaps } from "../../models/loss/losses.ts";
import { decodingTerms, dropPathTerm, encoderTerm, rareTerms, termOf } from "../terms.ts";
import { augmentationOf, teacherSizeOf } from "./augmentation.ts";
import type { DistillOptions } from "./options.ts";

/** The settings among the terms of a distillation: all that its weights follow from, but for files. */
export function distillTerms(
  options: DistillOptions,
): Term[] {
  const { dim, queue, temp, distillT, studentMlp, imageSize, smallViews, smallSize } = options;
  const { batchSize, seed, amp, momentum, weightDecay, lr, scaleLr, warmupEpochs, cos, schedule } = options;
  const teacher = encoderTerm("teacherArch", options.teacherArch, "feature");
  const usesTokens = usesMaps(options.loss ?? DEFAULT_LOSS);
  const essential = {
    dim,
    queue,
    temp,
    distillT,
    loss: options.loss ?? DEFAULT_LOSS,
    imageSize,
    augmentation: augmentationOf(options),
    smallViews,
    ...smallViews > 0 && { smallSize },
    ...usesTokens && { tokenT: options.tokenT, tokenWeight: options.tokenWeight },
  };
  const others = { batchSize, seed, amp, momentum, weightDecay, lr, scaleLr, warmupEpochs, cos };
  return [
    encoderTerm("studentArch", options.studentArch),
    termOf("studentMlp", studentMlp, true),
    teacher,
    ...Object.entries(essential).map(([property, value]) => termOf(property, value, true)),
    { ...termOf("feature", options.feature !== undefined, true, false), encoder: teacher.encoder },
    termOf("teacherSize", teacherSizeOf(options), true, imageSize),
    termOf("mixup", options.mixup ?? 0, true, 0),
    ...decodingTerms(options),
    ...Object.entries(others).map(([property, value]) => termOf(property, value, false)),
    ...cos ? [] : [termOf("schedule", schedule, false)],
    termOf("lrPerStep", options.lrPerStep, false, false),
    ...rareTerms(options),
    ...dropPathTerm(options.studentArch, options),
    termOf("epochs", options.epochs, false),
  ];
}

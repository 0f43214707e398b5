/** The terms of a pretraining. */
import type { Term } from "../../models/checkpoint/run_terms.ts";
import { decodingTerms, dropPathTerm, encoderTerm, rareTerms, termOf } from "../terms.ts";
import { augmentationOf, type PretrainOptions } from "./options.ts";

/** The settings among the terms of a pretraining: all that its weights follow from, but for files. */
export function pretrainTerms(options: PretrainOptions): Term[] {
  const { arch, mocoDim, mocoK, mocoM, mocoT, mlp, bnSplits, imageSize } = options;
  const { batchSize, seed, amp, momentum, weightDecay, lr, scaleLr, warmupEpochs, cos, schedule } = options;
  const essential = { mlp, mocoDim, mocoK, mocoM, mocoT, bnSplits, imageSize };
  const others = { batchSize, seed, amp, momentum, weightDecay, lr, scaleLr, warmupEpochs, cos };
  return [
    encoderTerm("arch", arch),
    ...Object.entries(essential).map(([property, value]) => termOf(property, value, true)),
    ...decodingTerms(options),
    {
      ...termOf("augmentation", augmentationOf(options), true),
      flag: "--aug-plus",
      flags: { mocov2: "--aug-plus", mocov1: "--no-aug-plus" },
    },
    ...Object.entries(others).map(([property, value]) => termOf(property, value, false)),
    ...cos ? [] : [termOf("schedule", schedule, false)],
    termOf("lrPerStep", options.lrPerStep, false, false),
    ...rareTerms(options),
    ...dropPathTerm(arch, options),
    termOf("epochs", options.epochs, false),
  ];
}

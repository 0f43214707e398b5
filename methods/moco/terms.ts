/** The terms of a pretraining. */
import type { Term } from "../../models/checkpoint/run_terms.ts";
import { dropPathTerm, termOf } from "../terms.ts";
import { augmentationOf, type PretrainOptions } from "./options.ts";

/** The settings among the terms of a pretraining: all that its weights follow from, but for files. */
export function pretrainTerms(options: PretrainOptions): Term[] {
  const { arch, mocoDim, mocoK, mocoM, mocoT, mlp, bnSplits, imageSize } = options;
  const { batchSize, seed, amp, momentum, weightDecay, lr, scaleLr, warmupEpochs, cos, schedule } = options;
  const { accumulate, clipGrad, syncBn, compress } = options;
  const essential = { arch, mlp, mocoDim, mocoK, mocoM, mocoT, bnSplits, imageSize };
  const others = { batchSize, seed, amp, momentum, weightDecay, lr, scaleLr, warmupEpochs, cos };
  return [
    ...Object.entries(essential).map(([property, value]) => termOf(property, value, true)),
    { ...termOf("augmentation", augmentationOf(options), true), flag: "--aug-plus" },
    ...Object.entries(others).map(([property, value]) => termOf(property, value, false)),
    ...cos ? [] : [termOf("schedule", schedule, false)],
    ...accumulate === 1 ? [] : [termOf("accumulate", accumulate, false)],
    ...clipGrad === null ? [] : [termOf("clipGrad", clipGrad, false)],
    ...syncBn ? [termOf("syncBn", true, false)] : [],
    ...compress === "none" ? [] : [termOf("compress", compress, false)],
    ...dropPathTerm(arch, options),
    termOf("epochs", options.epochs, false),
  ];
}

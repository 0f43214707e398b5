/** The terms of a fine-tuning. */
import type { EvaluationResize } from "../../actors/evaluation_resize.ts";
import type { Term } from "../../models/checkpoint/run_terms.ts";
import { dataTerms, type LabelledData } from "../labelled_data.ts";
import { contentTerm, decodingTerms, dropPathTerm, encoderTerm, rareTerms, termOf } from "../terms.ts";
import type { FinetuneOptions } from "./options.ts";

/** The terms of a fine-tuning: all that its weights follow from. */
export function finetuneTerms(
  options: FinetuneOptions & { evalResize: EvaluationResize },
  data: LabelledData,
  /** Fingerprint of the encoder's weights before the first step; `null` where it is not known any more. */
  encoder: string | null,
): Term[] {
  const { arch, imageSize, evalResize, cos } = options;
  const { batchSize, seed, amp, momentum, weightDecay, lr, lrLastLayer, scaleLr, warmupEpochs } = options;
  const { schedule, gamma, epochs } = options;
  const others = { batchSize, seed, amp, momentum, weightDecay, lr, lrLastLayer, scaleLr, warmupEpochs, cos };
  return [
    ...dataTerms(options, data),
    contentTerm("encoder", "--pretrained", encoder, "encoder's weights"),
    encoderTerm("arch", arch, true),
    ...Object.entries({ imageSize, evalResize }).map(([property, value]) => termOf(property, value, true)),
    ...decodingTerms(options),
    ...dropPathTerm(arch, options),
    ...rareTerms(options),
    ...Object.entries({ ...others, ...!cos && { schedule, gamma }, epochs }).map((
      [property, value],
    ) => termOf(property, value, false)),
    termOf("lrPerStep", options.lrPerStep, false, false),
  ];
}

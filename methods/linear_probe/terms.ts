/** The terms of a linear evaluation. */
import type { EvaluationResize } from "../../actors/evaluation_resize.ts";
import type { Term } from "../../models/checkpoint/run_terms.ts";
import type { Normalization } from "../../models/images.ts";
import { dataTerms, type LabelledData } from "../labelled_data.ts";
import { contentTerm, decodingTerms, encoderTerm, normalizationTerms, termOf } from "../terms.ts";
import type { LinearOptions } from "./options.ts";

/** The terms of a linear evaluation. */
export function linearTerms(
  options: LinearOptions & { evalResize: EvaluationResize },
  data: LabelledData,
  /** The encoder: the fingerprint of its weights, and what its pixels are normalised by. */
  encoder: { fingerprint: string; normalization: Normalization },
): Term[] {
  const { arch, imageSize, evalResize, cacheFeatures, batchSize, seed, momentum, weightDecay, lr } = options;
  const { scaleLr, warmupEpochs, schedule, epochs, amp } = options;
  const others = {
    batchSize,
    seed,
    momentum,
    weightDecay,
    lr,
    scaleLr,
    warmupEpochs,
    schedule,
    epochs,
    amp,
  };
  return [
    ...dataTerms(options, data),
    contentTerm("encoder", "--pretrained", encoder.fingerprint, "encoder's weights"),
    ...normalizationTerms("", "--pretrained", encoder.normalization),
    ...decodingTerms(options),
    encoderTerm("arch", arch, true),
    ...Object.entries({ imageSize, evalResize, cacheFeatures }).map(([property, value]) =>
      termOf(property, value, true)
    ),
    ...Object.entries(others).map(([property, value]) => termOf(property, value, false)),
  ];
}

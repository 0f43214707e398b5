/** The linear evaluation: classifiers on the frozen features of an encoder (MoCo's protocol). */
import { openEncoderSource } from "../../models/encoder_source.ts";
import type { Method, OutputSettings } from "../method.ts";
import { trainingNeeds } from "../permissions.ts";
import type { LinearEvent } from "./events.ts";
import { linearFlags } from "./flags.ts";
import { LINEAR_DEFAULTS, type LinearOptions } from "./options.ts";
import { type LinearResult, runLinearEvaluation } from "./run.ts";

/** The encoder, where its images are and its files go; all else has a default. */
export type LinearInput =
  & Pick<LinearOptions, "pretrained" | "trainData" | "testData" | "output">
  & Partial<LinearOptions>;

/** {@linkcode OutputSettings} of a linear evaluation. */
export interface LinearSettings extends OutputSettings {
  /** Whether the one that `resume` goes on with has not come to its end; where only that is missing, it is made up for. */
  isUnfinished?: boolean;
}

/** Name of the encoder in a checkpoint. */
async function archOf(
  path: string | null,
  arch: string | undefined,
  which: LinearOptions["which"],
): Promise<string> {
  if (path === null) {
    if (arch === undefined) {
      throw new TypeError("without a checkpoint the name of an encoder is needed: arch");
    }
    return arch;
  }
  using source = await openEncoderSource(path, { arch, which, part: "backbone" });
  return source.encoder.name;
}

async function resolveLinearInput(input: LinearInput): Promise<LinearOptions> {
  const which = input.which ?? "student";
  const arch = await archOf(input.pretrained, input.arch, which);
  return { ...LINEAR_DEFAULTS, resume: null, evaluate: false, classes: null, ...input, which, arch };
}

export const linearProbe: Method<
  LinearInput,
  LinearOptions,
  LinearEvent,
  LinearResult,
  LinearSettings
> = {
  description:
    "trains a linear classifier on the features of a frozen encoder, and says how well it classifies",
  folder: import.meta.url,
  actors: ["linear_trainer"],
  flags: () => linearFlags({ encoders: [] }),
  resolve: resolveLinearInput,
  needs: (input) => trainingNeeds({ ...input, data: input.trainData }, input.pretrained),
  run: (options, emit, signal, { isUnfinished }) => runLinearEvaluation(options, emit, signal, isUnfinished),
};

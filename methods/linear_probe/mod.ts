/** The linear evaluation: classifiers on the frozen features of an encoder (MoCo's protocol). */
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import type { FeatureKind, Stem } from "../../models/encoder.ts";
import type { Emit, NoticeEvent } from "../../actors/events.ts";
import { resolveLabelledInput } from "../labelled_input.ts";
import type { Method, OutputSettings } from "../method.ts";
import { trainingNeeds } from "../permissions.ts";
import { readLinearCheckpoint, readRates } from "./checkpoint.ts";
import type { LinearEvent } from "./events.ts";
import { linearFlags } from "./flags.ts";
import { LINEAR_DEFAULTS, type LinearOptions } from "./options.ts";
import { type LinearResult, runLinearEvaluation } from "./run.ts";

/** Options for `linearProbe`. All but the encoder, the images and the output folder have defaults. */
export type LinearInput =
  & Pick<LinearOptions, "pretrained" | "data" | "output">
  & Partial<LinearOptions>
  & {
    /** First layers of the encoder, `imagenet`, `cifar` or `cifar_pad2`; found out where a checkpoint has it. */
    stem?: Stem;
    /** Heads of a vision transformer; found out where its checkpoint has it. */
    heads?: number;
    /** Feature of the encoder; found out where its checkpoint has it. */
    feature?: FeatureKind;
  };

/** {@linkcode OutputSettings} of a linear evaluation. */
export interface LinearSettings extends OutputSettings {
  /** Whether the evaluation to resume did not finish. If all its epochs are done, only its end is repeated. */
  isUnfinished?: boolean;
}

/** The options with everything that was left out: by the encoder's checkpoint, and else by {@linkcode LINEAR_DEFAULTS}. */
async function resolveLinearInput(
  { stem, heads, feature, ...input }: LinearInput,
  emit: Emit<NoticeEvent>,
): Promise<LinearOptions> {
  const { resume = null, evaluate = false, which = "student", arch, weights } = input;
  // `auto` is resolved later; a run that is started again names the same encoder.
  const checkpoint = resume === "auto" ? null : resume;
  // The checkpoint of a linear evaluation has the encoder too.
  const pretrained = input.pretrained ?? checkpoint;
  const choice = { arch, stem, heads, feature, which, weights };
  const classifiers = evaluate ? checkpoint : null;
  const found = await resolveLabelledInput(pretrained, choice, { ...input, classifiers }, emit);
  const own = { classes: null, ...input, resume, evaluate, pretrained, which, ...found };
  const lr = input.lr ?? (classifiers === null ? LINEAR_DEFAULTS.lr : await readRates(classifiers));
  return { ...LINEAR_DEFAULTS, ...own, lr };
}

export const linearProbe: Method<
  LinearInput,
  LinearOptions,
  LinearEvent,
  LinearResult,
  LinearSettings
> = {
  description: "trains a linear classifier on the features of a frozen encoder, and reports its accuracy",
  folder: import.meta.url,
  actors: ["linear_trainer"],
  required: ["data", "output"],
  unflagged: ["actors", "data", "plugins", "tuning"],
  flags() {
    const { plugin: _, ...flags } = linearFlags({ encoders: [] });
    return flags;
  },
  resolve: resolveLinearInput,
  needs: (input) => trainingNeeds(input, input.pretrained),
  async checkResume(checkpoint) {
    using file = await openCheckpointFile(checkpoint);
    await readLinearCheckpoint(file, LINEAR_DEFAULTS.lr[0]);
  },
  run: (options, emit, signal, { isUnfinished, ranks }) =>
    runLinearEvaluation(options, emit, signal, isUnfinished, ranks),
};

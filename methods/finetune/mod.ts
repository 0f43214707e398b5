/** Fine-tuning: the whole encoder is trained on labels, or on a share of them (the semi-supervised protocol). */
import type { Emit, NoticeEvent } from "../../actors/events.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { findEncoder } from "../../models/registry.ts";
import { withOptimizer } from "../encoder_training/step_options.ts";
import { resolveLabelledInput } from "../labelled_input.ts";
import type { Method } from "../method.ts";
import type { LinearInput, LinearSettings } from "../linear_probe/mod.ts";
import { trainingNeeds } from "../permissions.ts";
import type { Wanted } from "../watched_actors.ts";
import { requireFiniteFinetune } from "./checkpoint.ts";
import type { FinetuneEvent } from "./events.ts";
import { finetuneFlags } from "./flags.ts";
import { FINETUNE_ADAMW, FINETUNE_DEFAULTS, type FinetuneOptions } from "./options.ts";
import { type FinetuneResult, runFinetune } from "./run.ts";

/** Options for `finetune`. All but the encoder, the images and the output folder have defaults. */
export type FinetuneInput =
  & Pick<FinetuneOptions, "pretrained" | "data" | "output">
  & Partial<FinetuneOptions>
  & Pick<LinearInput, "stem" | "heads" | "feature">;

/** {@linkcode LinearSettings} of a fine-tuning. */
export interface FinetuneSettings extends LinearSettings, Wanted {}

/** The options with everything that was left out: by the encoder's checkpoint, and else by {@linkcode FINETUNE_DEFAULTS}. */
async function resolveFinetuneInput(
  { stem, heads, feature, ...input }: FinetuneInput,
  emit: Emit<NoticeEvent>,
): Promise<FinetuneOptions> {
  const { pretrained = null, resume = null, which = "student", weights, arch } = input;
  // A checkpoint that is resumed from has the encoder as it has become, and what its images are.
  // `auto` is resolved later; a run that is started again names the same encoder.
  const isFresh = resume === null || resume === "auto";
  const path = isFresh ? pretrained : resume;
  const choice = isFresh ? { arch, stem, heads, feature, which, weights } : { arch, stem };
  const found = await resolveLabelledInput(path, choice, input, emit);
  const own = { evaluate: false, classes: null, ...input, pretrained, resume, which, ...found };
  return withOptimizer({ ...FINETUNE_DEFAULTS, ...own }, findEncoder(found.arch), input, FINETUNE_ADAMW);
}

export const finetune: Method<
  FinetuneInput,
  FinetuneOptions,
  FinetuneEvent,
  FinetuneResult,
  FinetuneSettings
> = {
  description: "trains an encoder and a classifier on it with labels, and reports their accuracy",
  folder: import.meta.url,
  actors: ["finetune_trainer"],
  required: ["data", "output"],
  unflagged: ["actors", "data", "plugins", "tuning"],
  flags() {
    const { plugin: _, ...flags } = finetuneFlags({ encoders: [] });
    return flags;
  },
  resolve: resolveFinetuneInput,
  needs: (input) => trainingNeeds(input, input.pretrained),
  endsTogether: ({ evaluate = false }) => !evaluate,
  async checkResume(checkpoint) {
    using file = await openCheckpointFile(checkpoint);
    await requireFiniteFinetune(file);
  },
  run: (options, emit, signal, { isUnfinished, ...wanted }) =>
    runFinetune(options, emit, signal, isUnfinished, wanted),
};

/** Fine-tuning: the whole encoder is trained on labels, or on a share of them (the semi-supervised protocol). */
import type { Emit, NoticeEvent } from "../../actors/events.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import type { FeatureKind, Stem } from "../../models/encoder.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { chooseFeature } from "../../models/features.ts";
import { findEncoder } from "../../models/registry.ts";
import { chooseViews } from "../encoder_views.ts";
import { findBoth } from "../find_both.ts";
import type { Method } from "../method.ts";
import type { LinearSettings } from "../linear_probe/mod.ts";
import { trainingNeeds } from "../permissions.ts";
import type { Wanted } from "../watched_actors.ts";
import { requireFiniteFinetune } from "./checkpoint.ts";
import type { FinetuneEvent } from "./events.ts";
import { finetuneFlags } from "./flags.ts";
import { FINETUNE_DEFAULTS, type FinetuneOptions } from "./options.ts";
import { type FinetuneResult, runFinetune } from "./run.ts";

/** Options for `finetune`. All but the encoder, the images and the output folder have defaults. */
export type FinetuneInput =
  & Pick<FinetuneOptions, "pretrained" | "data" | "output">
  & Partial<FinetuneOptions>
  & {
    /** First layers of the encoder, `imagenet` or `cifar`; found out where a checkpoint has it. */
    stem?: Stem;
    /** Heads of a vision transformer; found out where its checkpoint has it. */
    heads?: number;
    /** Feature of the encoder; found out where its checkpoint has it. */
    feature?: FeatureKind;
  };

/** {@linkcode LinearSettings} of a fine-tuning. */
export interface FinetuneSettings extends LinearSettings, Wanted {}

/** The options with everything that was left out: by the encoder's checkpoint, and else by {@linkcode FINETUNE_DEFAULTS}. */
async function resolveFinetuneInput(
  { stem, heads, feature, ...input }: FinetuneInput,
  emit: Emit<NoticeEvent>,
): Promise<FinetuneOptions> {
  const { pretrained, resume = null, which = "student", weights, arch: named } = input;
  // A checkpoint that is resumed from has the encoder as it has become, and what its images are.
  // `auto` is resolved later; a run that is started again names the same encoder.
  const isFresh = resume === null || resume === "auto";
  const path = isFresh ? pretrained : resume;
  const choice = isFresh ? { arch: named, stem, heads, feature, which, weights } : { arch: named, stem };
  using source = path === null ? null : await openEncoderSource(path, { ...choice, part: "backbone" });
  const arch = source?.encoder.name ?? (named && chooseFeature(findEncoder(named, stem), feature).name);
  if (arch === undefined) {
    throw new TypeError("expected a checkpoint (pretrained) or the name of an encoder (arch), found neither");
  }
  const { data, testData } = await findBoth(input);
  const { note, ...views } = chooseViews(source, input, data);
  if (note !== undefined) emit({ type: "note", text: note });
  const own = { which, arch, data, testData, ...views };
  return { ...FINETUNE_DEFAULTS, evaluate: false, classes: null, ...input, resume, ...own };
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
  flags: () => finetuneFlags({ encoders: [] }),
  resolve: resolveFinetuneInput,
  needs: (input) => trainingNeeds(input, input.pretrained),
  async checkResume(checkpoint) {
    using file = await openCheckpointFile(checkpoint);
    await requireFiniteFinetune(file);
  },
  run: (options, emit, signal, { isUnfinished, ...wanted }) =>
    runFinetune(options, emit, signal, isUnfinished, wanted),
};

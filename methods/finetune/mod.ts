/** Fine-tuning: the whole encoder is trained on labels, or on a share of them (the semi-supervised protocol). */
import type { Emit, NoticeEvent } from "../../actors/events.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { chooseViews } from "../encoder_views.ts";
import { findBoth } from "../find_both.ts";
import type { Method } from "../method.ts";
import type { LinearSettings } from "../linear_probe/mod.ts";
import { trainingNeeds } from "../permissions.ts";
import type { FinetuneEvent } from "./events.ts";
import { finetuneFlags } from "./flags.ts";
import { FINETUNE_DEFAULTS, type FinetuneOptions } from "./options.ts";
import { type FinetuneResult, runFinetune } from "./run.ts";

/** The encoder, where its images are and its files go; all else has a default. */
export type FinetuneInput =
  & Pick<FinetuneOptions, "pretrained" | "data" | "output">
  & Partial<FinetuneOptions>;

/** The options with everything that was left out: by the encoder's checkpoint, and else by {@linkcode FINETUNE_DEFAULTS}. */
async function resolveFinetuneInput(
  input: FinetuneInput,
  emit: Emit<NoticeEvent>,
): Promise<FinetuneOptions> {
  const { pretrained, resume = null, which = "student", weights, arch: named } = input;
  // A checkpoint that is resumed from has the encoder as it has become, and what its images are.
  const path = resume ?? pretrained;
  const choice = resume === null ? { arch: named, which, weights } : { arch: named };
  using source = path === null ? null : await openEncoderSource(path, { ...choice, part: "backbone" });
  const arch = source?.encoder.name ?? named;
  if (arch === undefined) {
    throw new TypeError("without a checkpoint the name of an encoder is needed: arch");
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
  LinearSettings
> = {
  description: "trains an encoder and a classifier on it with labels, and says how well they classify",
  folder: import.meta.url,
  actors: ["finetune_trainer"],
  flags: () => finetuneFlags({ encoders: [] }),
  resolve: resolveFinetuneInput,
  needs: (input) => trainingNeeds(input, input.pretrained),
  run: (options, emit, signal, { isUnfinished }) => runFinetune(options, emit, signal, isUnfinished),
};

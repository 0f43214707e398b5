/** What a linear evaluation finds out before it starts any actor: data that fits, and where it begins. */
import type { EvaluationResize } from "../../actors/evaluation_resize.ts";
import type { Emit, NoticeEvent } from "../../actors/events.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { fingerprintWeights } from "../../models/checkpoint/fingerprint_weights.ts";
import type { Term } from "../../models/checkpoint/run_terms.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import type { LabelledData } from "../labelled_data.ts";
import { NothingToDoError } from "../nothing_to_do.ts";
import { checkTerms } from "../terms.ts";
import { readLinearCheckpoint } from "./checkpoint.ts";
import { freshBackbone } from "./linear_trainer.ts";
import type { LinearOptions } from "./options.ts";
import { linearTerms } from "./terms.ts";

/** Options with a rule for views that is decided. */
export type ResolvedOptions = LinearOptions & { evalResize: EvaluationResize };

/** What the classifiers follow from. */
export async function findTerms(options: ResolvedOptions, data: LabelledData): Promise<Term[]> {
  const { pretrained, arch, which, weights } = options;
  if (pretrained === null) {
    return linearTerms(options, data, await fingerprintWeights(freshBackbone(options)));
  }
  using source = await openEncoderSource(pretrained, { arch, which, weights, part: "backbone" });
  return linearTerms(options, data, await fingerprintWeights(source.tensors));
}

/**
 * Compares the evaluation with the one that wrote the checkpoint. What is only classified with may be other images, but
 * the classifiers know the features of one encoder alone.
 */
export async function compareWithCheckpoint(
  { resume, lr, evaluate, resumeAnyway = false }: LinearOptions,
  terms: readonly Term[],
  emit: Emit<NoticeEvent>,
): Promise<void> {
  using file = await openCheckpointFile(resume!);
  const { terms: saved } = await readLinearCheckpoint(file, lr[0]);
  const compared = evaluate ? terms.filter(({ name }) => name === "encoder") : terms;
  checkTerms(resume!, saved, compared, resumeAnyway, emit);
}

export function checkWhetherDone(
  { resume, epochs, evaluate }: LinearOptions,
  { epoch }: { epoch: number },
  isUnfinished: boolean,
): void {
  if (evaluate || epoch < epochs || isUnfinished) return;
  throw new NothingToDoError(
    `${resume}: ${epoch} of ${epochs} epochs are done, so there is nothing left to do; use a larger --epochs`,
  );
}

/** Where a linear evaluation begins. */
export interface LinearStart {
  /** The first one to come. */
  epoch: number;
  /** Best top-1 that each learning rate has seen. */
  best: number[];
  /** Which of them have diverged. */
  diverged: boolean[];
}

/** The beginning, or where the checkpoint of `resume` left off. */
export async function findStart({ resume, lr, startEpoch }: LinearOptions): Promise<LinearStart> {
  // Worse than any, so that the first epoch is the best so far.
  const none = lr.map(() => -1);
  if (resume === null) return { epoch: startEpoch, best: none, diverged: lr.map(() => false) };
  using file = await openCheckpointFile(resume);
  const { epoch, probes } = await readLinearCheckpoint(file, lr[0]);
  const found = lr.map((rate) => probes.find((probe) => probe.lr === rate));
  const diverged = found.map((probe) => probe?.values.size === 0);
  if (diverged.every(Boolean)) {
    const others = probes.filter(({ values }) => values.size > 0).map((probe) => probe.lr);
    throw new CheckpointError(
      resume,
      `its classifiers for learning rate ${lr.join(", ")} have diverged; use --lr ${others.join(",")}`,
    );
  }
  return { epoch, best: found.map((probe) => probe?.best ?? -1), diverged };
}

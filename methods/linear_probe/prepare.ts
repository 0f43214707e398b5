/** What a linear evaluation finds out before it starts any actor: data that fits, and where it begins. */
import type { Emit, NoticeEvent } from "../../actors/events.ts";
import { UserError } from "../../errors.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { fingerprintWeights } from "../../models/checkpoint/fingerprint_weights.ts";
import { extraStepsOf } from "../../models/checkpoint/resume_state.ts";
import type { Term } from "../../models/checkpoint/run_terms.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { IMAGENET_NORMALIZATION } from "../../models/images.ts";
import { findEncoder } from "../../models/registry.ts";
import { type LabelledData, type PreparedLabels, prepareLabels, type Resolved } from "../labelled_data.ts";
import { NothingToDoError } from "../nothing_to_do.ts";
import { pluginTerms } from "../program_facts.ts";
import { requireHalf } from "../require_half.ts";
import { checkTerms } from "../terms.ts";
import { findProbes, readLinearCheckpoint, type SavedLinear } from "./checkpoint.ts";
import type { LinearEvent } from "./events.ts";
import { freshBackbone } from "./linear_trainer.ts";
import { describeRepeatedRate, type LinearOptions } from "./options.ts";
import { linearTerms } from "./terms.ts";

/** Options with a rule for views that is decided. */
export type ResolvedOptions = Resolved<LinearOptions>;

/** A linear evaluation that can begin. */
export interface PreparedEvaluation extends PreparedLabels<LinearOptions> {
  batchesPerEpoch: number;
  terms: readonly Term[];
  start: LinearStart;
}

/**
 * Finds all that out.
 *
 * @param isUnfinished whether the evaluation that `resume` goes on with has not come to its end
 * @param signal ends it with its reason
 * @throws {NothingToDoError} where all epochs are done, and it is not unfinished
 * @throws {UserError} for data and checkpoints that do not fit the options
 */
export async function prepareEvaluation(
  given: LinearOptions,
  emit: Emit<LinearEvent>,
  isUnfinished: boolean,
  signal?: AbortSignal,
): Promise<PreparedEvaluation> {
  const repeated = describeRepeatedRate(given.lr);
  if (repeated !== undefined) throw new UserError(repeated);
  if (given.amp) await requireHalf();
  const prepared = await prepareLabels(given, emit, signal);
  signal?.throwIfAborted();
  const { options, data, classes } = prepared;
  const { resume, epochs, evaluate, batchSize } = options;
  const batchesPerEpoch = Math.ceil(data.trainImages / batchSize);
  const start = await findStart(options, batchesPerEpoch);
  if (!evaluate && start.epoch >= epochs && !isUnfinished) {
    throw new NothingToDoError(resume, start.epoch, epochs);
  }
  const terms = [
    ...await findTerms({ ...options, maxPixels: given.maxPixels }, data),
    ...await pluginTerms(options),
  ];
  if (resume !== null) await compareWithCheckpoint(options, classes, terms, emit);
  return { ...prepared, batchesPerEpoch, terms, start };
}

/** What the classifiers follow from. */
async function findTerms(options: ResolvedOptions, data: LabelledData): Promise<Term[]> {
  const { pretrained, arch, which, weights } = options;
  if (pretrained === null) {
    const fingerprint = await fingerprintWeights(freshBackbone(options));
    return linearTerms(options, data, { fingerprint, normalization: IMAGENET_NORMALIZATION });
  }
  using source = await openEncoderSource(pretrained, { arch, which, weights, part: "backbone" });
  const { tensors, normalization } = source;
  return linearTerms(options, data, { fingerprint: await fingerprintWeights(tensors), normalization });
}

/** Names of the terms that say how a feature is computed. */
const FEATURE_TERMS: readonly string[] = ["encoder", "mean", "std", "arch", "plugins"];

/**
 * Compares the evaluation with the one that wrote the checkpoint. What is only classified with may be other images, but
 * the classifiers know the features of one encoder alone.
 *
 * @throws {CheckpointError} where the checkpoint is of another evaluation, or lacks the classifier of a learning rate
 */
async function compareWithCheckpoint(
  { resume, lr, arch, evaluate, resumeAnyway = false }: LinearOptions,
  classes: number,
  terms: readonly Term[],
  emit: Emit<NoticeEvent>,
): Promise<void> {
  using file = await openCheckpointFile(resume!);
  const saved = await readLinearCheckpoint(file, lr[0]);
  const compared = evaluate ? terms.filter(({ name }) => FEATURE_TERMS.includes(name)) : terms;
  checkTerms(resume!, saved.terms, compared, resumeAnyway, emit);
  findProbes(resume!, saved, { lr, classes, features: findEncoder(arch).features });
  if (!evaluate || lr.length === 1) return;
  const { chosen, isCheckpointChoice } = chooseProbe(saved, lr);
  if (isCheckpointChoice) return;
  const why = saved.chosen === undefined
    ? "does not say which learning rate was chosen"
    : `learning rate ${saved.chosen} was chosen, ${
      lr.includes(saved.chosen) ? "but has diverged" : "which --lr leaves out"
    }`;
  const text = `${resume}: ${why}; the result is that of ${
    lr[chosen]
  }, whose best top-1 in the checkpoint is the highest`;
  emit({ type: "note", text });
}

/**
 * Finds the index of the learning rate that a checkpoint chose (`isCheckpointChoice`); where that is left out or has diverged, or the
 * checkpoint does not say it, of the one with the highest best top-1 in the checkpoint.
 */
function chooseProbe(
  { probes, chosen: savedRate }: SavedLinear,
  lr: readonly number[],
): { chosen: number; isCheckpointChoice: boolean } {
  const standings = lr.map((rate) => {
    const probe = probes.find((candidate) => candidate.lr === rate);
    return probe === undefined || probe.values.size === 0 ? -Infinity : probe.best;
  });
  const saved = lr.findIndex((rate) => rate === savedRate);
  const isCheckpointChoice = saved >= 0 && standings[saved] > -Infinity;
  const chosen = isCheckpointChoice ? saved : standings.indexOf(Math.max(...standings));
  return { chosen, isCheckpointChoice };
}

/** Where a linear evaluation begins. */
export interface LinearStart {
  /** The first one to come. */
  epoch: number;
  /** See `StepCount`. */
  extraSteps?: number;
  /** Best top-1 that each learning rate has seen, in percent; -1 if there is none. */
  best: number[];
  /** Index of the one that was the best first. */
  chosen: number;
  /** Whether the checkpoint says that it chose that one. */
  isCheckpointChoice: boolean;
  /** Which of them have diverged. */
  diverged: boolean[];
}

/** The beginning, or where the checkpoint of `resume` left off. */
export async function findStart(
  { resume, lr, startEpoch }: LinearOptions,
  batchesPerEpoch: number,
): Promise<LinearStart> {
  if (resume === null) {
    // Worse than any, so that the first epoch is the best so far.
    const none = lr.map(() => -1);
    return {
      epoch: startEpoch,
      best: none,
      chosen: 0,
      isCheckpointChoice: false,
      diverged: lr.map(() => false),
    };
  }
  using file = await openCheckpointFile(resume);
  const saved = await readLinearCheckpoint(file, lr[0]);
  const { epoch, probes, steps } = saved;
  const extraSteps = extraStepsOf(
    steps,
    epoch,
    batchesPerEpoch,
    (problem) => new CheckpointError(resume, problem),
  );
  const found = lr.map((rate) => probes.find((probe) => probe.lr === rate));
  const diverged = found.map((probe) => probe?.values.size === 0);
  if (diverged.every(Boolean)) {
    const others = probes.filter(({ values }) => values.size > 0).map((probe) => probe.lr);
    throw new CheckpointError(
      resume,
      `its classifiers for learning rate ${lr.join(", ")} have diverged; use --lr ${others.join(",")}`,
    );
  }
  const best = found.map((probe) => probe?.best ?? -1);
  return { epoch, extraSteps, best, ...chooseProbe(saved, lr), diverged };
}

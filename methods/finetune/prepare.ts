/** What a fine-tuning finds out before it starts any actor: data that fits, and where it begins. */
import type { Emit } from "../../actors/events.ts";
import { UserError } from "../../errors.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { fingerprintWeights } from "../../models/checkpoint/fingerprint_weights.ts";
import { extraStepsOf } from "../../models/checkpoint/resume_state.ts";
import type { Term } from "../../models/checkpoint/run_terms.ts";
import { encoderByFlags } from "../../models/encoder_by_flags.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { initialize } from "../../models/initialize.ts";
import { findEncoder } from "../../models/registry.ts";
import { requireOptimizer } from "../encoder_training/optimizer_state.ts";
import { checkSameEpoch } from "../encoder_training/same_epoch.ts";
import { type LabelledData, type PreparedLabels, prepareLabels, type Resolved } from "../labelled_data.ts";
import { NothingToDoError } from "../nothing_to_do.ts";
import { pluginTerms } from "../program_facts.ts";
import { requireHalf } from "../require_half.ts";
import { checkTerms } from "../terms.ts";
import { type FinetuneProgress, readFinetuneCheckpoint, requireFiniteFinetune } from "./checkpoint.ts";
import type { FinetuneEvent } from "./events.ts";
import type { FinetuneOptions, LearningRates } from "./options.ts";
import { classifierState } from "./step.ts";
import { finetuneTerms } from "./terms.ts";

/** Where a fine-tuning begins. */
export interface FinetuneStart {
  /** The first batch to come. */
  epoch: number;
  /** Its number in that epoch, from 0. */
  batch: number;
  /** Steps that epochs of another batch size had more, or fewer if below 0; 0 if omitted. */
  extraSteps?: number;
  /** Best top-1 so far, in percent; below 0 before the first test. */
  best: number;
  /** Where it is within its epochs. */
  progress: FinetuneProgress;
  /** Of the last step of a checkpoint that is gone on from. */
  rates?: LearningRates;
}

/** A fine-tuning that can begin. */
export interface PreparedFinetune extends PreparedLabels<FinetuneOptions> {
  batchesPerEpoch: number;
  terms: readonly Term[];
  start: FinetuneStart;
}

/** No epoch was trained. */
const UNTRAINED: FinetuneProgress = { isTested: true, trained: { images: 0, loss: 0, top1: 0, top5: 0 } };

/**
 * Finds all that out.
 *
 * @param isUnfinished whether the fine-tuning that `resume` goes on with has not come to its end
 * @param signal ends it with its reason
 * @throws {NothingToDoError} where all epochs are done, and it is not unfinished
 * @throws {UserError} for data and checkpoints that do not fit the options
 */
export async function prepareFinetune(
  given: FinetuneOptions,
  emit: Emit<FinetuneEvent>,
  isUnfinished: boolean,
  signal?: AbortSignal,
): Promise<PreparedFinetune> {
  const { amp, batchSize, resume, evaluate, epochs } = given;
  if (amp) await requireHalf();
  const prepared = await prepareLabels(given, emit, signal);
  signal?.throwIfAborted();
  const { options, data, classes } = prepared;
  const { trainImages } = data;
  const batchesPerEpoch = Math.floor(trainImages / batchSize);
  if (batchesPerEpoch === 0 && !evaluate) {
    throw new UserError(
      `${options.data}: ${trainImages} images are fewer than one batch of --batch-size ${batchSize}, and batch norm ` +
        `needs whole batches; use --batch-size ${trainImages} or less${
          data.rows === undefined ? "" : ", or a larger --label-fraction"
        }`,
    );
  }
  const start = await findStart(options, classes, batchesPerEpoch);
  if (!evaluate && start.batch > 0 && start.epoch >= epochs) {
    throw new UserError(
      `${resume}: was stopped within epoch ${start.epoch}, which --epochs ${epochs} leaves out; use --epochs ${
        start.epoch + 1
      } or more`,
    );
  }
  const terms = [
    ...await findTerms({ ...options, maxPixels: given.maxPixels }, data),
    ...await pluginTerms(options),
  ];
  if (resume !== null) {
    using file = await openCheckpointFile(resume);
    const saved = readFinetuneCheckpoint(file).resume.terms;
    // What is only classified with may be other images.
    const compared = evaluate ? terms.filter(({ name }) => name === "arch" || name === "plugins") : terms;
    checkTerms(resume, saved, compared, options.resumeAnyway ?? false, emit);
    // Before later checkpoints are set aside. An evaluation needs no optimizer.
    if (!evaluate) await requireFiniteFinetune(file);
  }
  const isDone = start.epoch >= epochs && start.progress.isTested;
  if (isDone && !evaluate && !isUnfinished) throw new NothingToDoError(resume, start.epoch, epochs);
  return { ...prepared, batchesPerEpoch, terms, start };
}

/** What the weights follow from. */
async function findTerms(options: Resolved<FinetuneOptions>, data: LabelledData): Promise<Term[]> {
  const { pretrained, resume, arch, which, weights, seed } = options;
  if (pretrained !== null) {
    using source = await openEncoderSource(pretrained, { arch, which, weights, part: "backbone" });
    return finetuneTerms(options, data, await source.fingerprint()); // refuses weights that are not finite
  }
  if (resume !== null) {
    using file = await openCheckpointFile(resume);
    const encoder = readFinetuneCheckpoint(file).resume.terms?.get("encoder");
    return finetuneTerms(options, data, typeof encoder === "string" ? encoder : null);
  }
  const state = classifierState(findEncoder(arch), 1).encoder.filter(({ kind }) => kind !== "counter");
  const values = initialize(state, seed);
  const fresh = state.map(({ key, shape }) => ({ key, shape, data: values.get(key)! }));
  return finetuneTerms(options, data, await fingerprintWeights(fresh));
}

/** The beginning, or where the checkpoint of `resume` left off. */
export async function findStart(
  options: FinetuneOptions,
  classes: number,
  batchesPerEpoch: number,
): Promise<FinetuneStart> {
  const { resume, startEpoch, arch, evaluate } = options;
  // Worse than any, so that the first epoch is the best so far.
  if (resume === null) return { epoch: startEpoch, batch: 0, best: -1, progress: UNTRAINED };
  using file = await openCheckpointFile(resume);
  const saved = readFinetuneCheckpoint(file);
  const fail = (problem: string) => new CheckpointError(resume, problem);
  if (saved.arch !== arch) {
    const isListed = encoderByFlags(saved.arch).arch === saved.arch;
    throw fail(
      `holds a ${saved.arch}, but --arch is ${arch}; ` +
        (isListed ? `use --arch ${saved.arch}, or leave it out` : "leave --arch out"),
    );
  }
  if (saved.classes !== classes) {
    throw fail(
      `has a classifier of ${saved.classes} classes, but the images have ${classes}; use the data of that run, or ` +
        `--classes ${saved.classes}`,
    );
  }
  const hasOptimizer = !evaluate; // which then is not needed
  requireOptimizer({ ...saved, hasOptimizer }, options.optimizer, fail);
  const { epoch, progress, rates, resume: state } = saved;
  // The images that are only classified may be others than those of the run.
  const best = evaluate ? -1 : saved.best;
  const batch = evaluate ? state.batch : checkSameEpoch(state, options, batchesPerEpoch, fail);
  const extraSteps = extraStepsOf(state, epoch, batchesPerEpoch, fail);
  return { epoch, batch, extraSteps, best, progress, ...rates && { rates } };
}

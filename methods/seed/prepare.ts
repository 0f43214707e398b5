/** What a distillation finds out before it starts any actor: files that fit each other, and where it begins and ends. */
import { type DataFacts, identifyData, readDataFacts, withMaxPixels } from "../../actors/data_facts.ts";
import { type EvaluationResize, resolveEvaluationResize } from "../../actors/evaluation_resize.ts";
import type { Emit } from "../../actors/events.ts";
import { checkSameClassNames } from "../../data/dataset.ts";
import { resolveDataset } from "../../data/open_dataset.ts";
import { EpochOrder } from "../../data/sampler.ts";
import { UserError } from "../../errors.ts";
import { describeAdapter } from "../../kernels/gpu.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { groupOf } from "../../models/training_step.ts";
import { NothingToDoError } from "../nothing_to_do.ts";
import type { RunIdentity } from "../terms.ts";
import type { KnownAccuracy } from "./evaluations.ts";
import type { DistillEvent } from "./events.ts";
import { type DistillOptions, teacherPart } from "./options.ts";
import { findStart, identifyRun } from "./start.ts";
import { openStudentInit } from "./student_init.ts";
import { distillTerms } from "./terms.ts";
import type { Start } from "./training_pipeline.ts";

/** The loss of a step. */
export interface KnownLoss {
  /** From 1, over the whole run. */
  step: number;
  /** `null` where it was not finite. */
  loss: number | null;
}

/** What is known of a run that is gone on with, from its records. */
export interface RunSoFar {
  /** Its evaluations, as far as they are by the images and settings of now: they are not made again. */
  accuracies: readonly KnownAccuracy[];
  /** The losses of its steps, in their order. */
  losses: readonly KnownLoss[];
  /** Whether it has not come to its end. If only its end is missing, that is made up for. */
  isUnfinished: boolean;
  /** The step that it was to end after, where `limitSteps` was counted from its start and not from now. */
  end?: number;
}

/** A run of which nothing is known. */
export const NOTHING_SO_FAR: RunSoFar = { accuracies: [], losses: [], isUnfinished: false };

/** A distillation that can begin. */
export interface PreparedRun {
  /** With what this adapter allows. */
  options: DistillOptions;
  train: DataFacts;
  test: DataFacts | null;
  evalResize: EvaluationResize;
  start: Start;
  batchesPerEpoch: number;
  /** Steps done before. */
  firstStep: number;
  /** Steps of the whole run. */
  totalSteps: number;
  identity: RunIdentity;
  /** Evaluations that are known, and the losses of the steps done before. */
  accuracies: readonly KnownAccuracy[];
  losses: readonly KnownLoss[];
}

/**
 * Finds all that out.
 *
 * @throws {NothingToDoError} where all steps are done, and `soFar` does not say that the end is missing
 * @throws {UserError} for data and checkpoints that do not fit the options
 */
export async function prepareRun(
  given: DistillOptions,
  emit: Emit<DistillEvent>,
  soFar: RunSoFar,
): Promise<PreparedRun> {
  const known = await withMaxPixels(given);
  const { epochs, batchSize, seed, accumulate, queue } = known;
  if (known.amp) await checkHalf();
  const images = await findImages(known, emit);
  const evalResize = await findEvaluationResize(known, images.path);
  const options = { ...known, evalResize };
  const { batchCount: batchesPerEpoch } = new EpochOrder(images.rowCount, seed, 0, batchSize, {
    shuffle: false,
  });
  if (queue < batchSize * accumulate) {
    throw new UserError(
      `a queue of ${queue} keys does not hold a batch of ${batchSize}${
        accumulate === 1 ? "" : ` times the ${accumulate} that accumulate`
      }`,
    );
  }
  const start = await findStart(options, batchesPerEpoch);
  const firstStep = start.epoch * batchesPerEpoch + start.batch;
  const lastStep = Math.min(
    epochs * batchesPerEpoch,
    endOfGroup(soFar.end ?? firstStep + (options.limitSteps ?? Infinity), batchesPerEpoch, accumulate),
  );
  if (firstStep >= lastStep && !soFar.isUnfinished) {
    throw new NothingToDoError(
      `${options.resume}: ${start.epoch} of ${epochs} epochs are done, so there is nothing left to do; use more --epochs`,
    );
  }
  const test = await findTestData(images, options, emit);
  const teacher = await identifyTeacher(options, emit);
  if (options.studentInit !== null && options.resume === null) await checkStudentInit(options, emit);
  const terms = distillTerms(options, { data: images.fingerprint, teacher });
  const identity = await identifyRun(options, terms, emit);
  // What comes after the checkpoint is made again.
  const isBefore = ({ step }: { step: number }) => step <= firstStep;
  return {
    options,
    train: images,
    test,
    evalResize,
    start,
    batchesPerEpoch,
    firstStep,
    totalSteps: Math.max(firstStep, lastStep),
    identity,
    accuracies: soFar.accuracies.filter(isBefore),
    losses: soFar.losses.filter(isBefore),
  };
}

/** A number of batches, or the few more that make the last step whole. */
function endOfGroup(batches: number, batchesPerEpoch: number, accumulate: number): number {
  if (accumulate === 1 || !Number.isFinite(batches) || batches === 0) return batches;
  const last = (batches - 1) % batchesPerEpoch;
  const { index, size } = groupOf(last, batchesPerEpoch, accumulate);
  return batches + size - 1 - index;
}

/** The images to learn from. */
async function findImages(
  options: DistillOptions,
  emit: Emit<DistillEvent>,
): Promise<DataFacts & { fingerprint: string | null }> {
  const { data, images } = options;
  if (images === undefined) return await identifyData(await resolveDataset(data, "train"), emit);
  return { path: data, rowCount: images, hasLabels: false, classNames: undefined, fingerprint: null };
}

/** The images to evaluate on; `null` where there are none, or no labels to learn them by. */
async function findTestData(
  images: DataFacts,
  { testData }: DistillOptions,
  emit: Emit<DistillEvent>,
): Promise<DataFacts | null> {
  if (testData === null) return null;
  const facts = await readDataFacts(testData, emit);
  const unlabelled = [images, facts].find(({ hasLabels }) => !hasLabels);
  if (unlabelled !== undefined) {
    emit({ type: "note", text: `no kNN: ${unlabelled.path} has no classes` });
    return null;
  }
  checkSameClassNames(images, facts);
  return facts;
}

/** How images become views: by those to learn from, or by those to be evaluated on where no file has the former. */
function findEvaluationResize(
  { evalResize, images, testData, imageSize }: DistillOptions,
  path: string,
): Promise<EvaluationResize> {
  return resolveEvaluationResize(
    evalResize,
    images === undefined ? path : testData ?? undefined,
    imageSize,
  );
}

/** Fails where the adapter cannot keep float16. */
async function checkHalf(): Promise<void> {
  const { name, hasHalf } = await describeAdapter();
  if (!hasHalf) {
    throw new UserError(
      `--amp keeps activations in float16, which ${name} cannot (no shader-f16); leave --amp out`,
    );
  }
}

/**
 * Fails before anything is started when the teacher's checkpoint is not what the options say.
 *
 * @returns the fingerprint of its weights
 */
async function identifyTeacher(
  { distill, teacherArch, weights, feature, dim }: DistillOptions,
  emit: Emit<DistillEvent>,
): Promise<string> {
  using source = await openEncoderSource(distill, {
    arch: teacherArch,
    weights,
    dimension: dim,
    part: teacherPart({ feature }),
  });
  const fingerprint = await source.fingerprint(); // refuses weights that are not finite
  // Encoders that could have been chosen are in another note.
  const beside = source.beside.filter((name) => !source.others?.includes(`${name}.`));
  if (beside.length > 0) {
    emit({ type: "note", text: `not used of the teacher's checkpoint: ${beside.join(", ")}` });
  }
  return fingerprint;
}

/** Fails where the student cannot start from that checkpoint, and says what of it is taken. */
async function checkStudentInit(options: DistillOptions, emit: Emit<DistillEvent>): Promise<void> {
  using init = await openStudentInit(options);
  await init.requireFinite();
  const head = init.takesHead
    ? "its head too"
    : init.hasHead
    ? "but not its head, which is another one: a fresh head is made"
    : "which has no head: a fresh one is made";
  const text = `the student starts from ${options.studentInit} (a ${init.framework} checkpoint), ${head}`;
  emit({ type: "note", text });
}

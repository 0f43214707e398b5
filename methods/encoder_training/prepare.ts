/** What a training finds out before it starts any actor: files that fit each other, and where it begins and ends. */
import { countSteps, type StepCount } from "../../actors/batch_number.ts";
import { type DataFacts, identifyData, withDecoding } from "../../actors/data_facts.ts";
import { type EvaluationResize, resolveEvaluationResize } from "../../actors/evaluation_resize.ts";
import type { Emit, NoticeEvent } from "../../actors/events.ts";
import { findingListener } from "../../actors/notices.ts";
import { checkSameClassNames } from "../../data/dataset.ts";
import { findDataset, resolveDataset } from "../../data/open_dataset.ts";
import { EpochOrder } from "../../data/sampler.ts";
import { UserError } from "../../errors.ts";
import { findAugmentation } from "../../kernels/image/augmentations.ts";
import { describeInput } from "../../models/encoder_input.ts";
import type { Normalization } from "../../models/images.ts";
import { findEncoder } from "../../models/registry.ts";
import { groupOf } from "../../models/training_step.ts";
import { describeFewVotes } from "../few_votes.ts";
import { HELD_OUT, holdOut, warnOfSameImages } from "../held_out.ts";
import { NothingToDoError } from "../nothing_to_do.ts";
import { pluginTerms } from "../program_facts.ts";
import { requireHalf } from "../require_half.ts";
import { contentTerm, type RunIdentity } from "../terms.ts";
import { type ClassifiedImages, countVote, type KnownAccuracy, sampleVote } from "./evaluations.ts";
import type { EncoderTrainingEvent } from "./events.ts";
import { openInitialCheckpoint } from "./initial_weights.ts";
import type { EncoderMethod } from "./method.ts";
import type { TrainedEncoder } from "./trained_encoder.ts";
import type { EncoderTrainingOptions, OnAdapter } from "./options.ts";
import { findNormalization, findStart, identifyRun, requireKnownHead } from "./start.ts";
import type { Start } from "./training_pipeline.ts";

/** The loss of a step. */
export interface KnownLoss {
  /** Step, from 1, over the whole run. */
  step: number;
  /** Loss; `null` if it was not finite. */
  loss: number | null;
}

/** Records of a run to resume. */
export interface RunSoFar {
  /** Its evaluations with the current images and settings, which are not repeated. */
  accuracies: readonly KnownAccuracy[];
  /** Epochs from one evaluation to the next, where they were made with the current images and settings. */
  knnEvery?: number;
  /** Losses of its steps, in order. */
  losses: readonly KnownLoss[];
  /** Whether the run did not finish. If all its steps are done, only its end is repeated. */
  isUnfinished: boolean;
  /** Step after which it was to end, if `limitSteps` was counted from its start and not from now. */
  end?: number;
}

/** A run of which nothing is known. */
export const NOTHING_SO_FAR: RunSoFar = { accuracies: [], losses: [], isUnfinished: false };

/** A training that can begin. */
export interface PreparedRun<Options> {
  method: EncoderMethod<Options & EncoderTrainingOptions>;
  /** With what this adapter allows. */
  options: OnAdapter<Options>;
  train: DataFacts;
  test: ClassifiedImages | null;
  evalResize: EvaluationResize;
  /** What the trained encoder's pixels are normalised by. */
  normalization: Normalization;
  start: Start;
  batchesPerEpoch: number;
  /** Steps done before. */
  firstStep: number;
  /** Steps of the whole run. */
  totalSteps: number;
  identity: RunIdentity;
  /** Evaluations that are known, and the losses of the steps done before. */
  accuracies: readonly KnownAccuracy[];
  knnEveryBefore: number | undefined;
  losses: readonly KnownLoss[];
}

/**
 * Finds all that out.
 *
 * @param signal ends it with its reason
 * @throws {NothingToDoError} where all steps are done, and `soFar` does not say that the end is missing
 * @throws {UserError} for data and checkpoints that do not fit the options
 */
export async function prepareRun<Options extends EncoderTrainingOptions>(
  method: EncoderMethod<Options>,
  given: Options,
  emit: Emit<EncoderTrainingEvent>,
  soFar: RunSoFar,
  signal: AbortSignal | undefined,
): Promise<PreparedRun<Options>> {
  const finish = async <T>(step: Promise<T>): Promise<T> => {
    const found = await step;
    signal?.throwIfAborted();
    return found;
  };
  signal?.throwIfAborted();
  const known = await withDecoding(given);
  const { epochs, batchSize, seed, accumulate } = known;
  requireKnownHead(method.encoder(known));
  const { size: queue } = method.queue(known);
  if (known.amp) await requireHalf();
  const images = await finish(findImages(known, emit, signal));
  const evalResize = await findEvaluationResize(known, images.path);
  const options = { ...known, evalResize };
  checkAugmentations(method, options);
  const { batchCount: batchesPerEpoch } = new EpochOrder(images.rowCount, seed, 0, batchSize, {
    shuffle: false,
  });
  if (queue < batchSize * accumulate) {
    throw new UserError(
      `${method.flags.queue} ${queue} is too small: expected at least ${
        accumulate === 1
          ? `--batch-size, ${batchSize}`
          : `--batch-size times --accumulate, ${batchSize * accumulate}`
      }`,
    );
  }
  const settings = method.terms({ ...options, maxPixels: given.maxPixels });
  const start = await finish(findStart(method, options, batchesPerEpoch, settings));
  const count = { batchesPerEpoch, extraSteps: start.extraSteps };
  const firstStep = countSteps(count, start);
  const lastStep = Math.min(
    countSteps(count, { epoch: epochs, batch: 0 }),
    endOfGroup(soFar.end ?? firstStep + (options.limitSteps ?? Infinity), count, accumulate),
  );
  if (firstStep >= lastStep && !soFar.isUnfinished) {
    throw new NothingToDoError(options.resume, start.epoch, epochs);
  }
  const test = await finish(findTestData(images, options, emit, signal));
  const inputs = await finish(method.identify(options, emit));
  const encoder = method.encoder(options);
  if (encoder.init !== null && options.resume === null) await checkInit(method.noun, encoder, emit);
  const terms = [
    contentTerm("data", "--data", images.fingerprint, "images"),
    ...inputs,
    ...settings,
    ...await finish(pluginTerms(options)),
  ];
  const normalization = await finish(findNormalization(method, options));
  const identity = await finish(identifyRun(method, options, terms, emit));
  // What comes after the checkpoint is made again.
  const isBefore = ({ step }: { step: number }) => step <= firstStep;
  return {
    method,
    options: { ...options, ...test === null && { testData: null } },
    train: images,
    test,
    evalResize,
    normalization,
    start,
    batchesPerEpoch,
    firstStep,
    totalSteps: Math.max(firstStep, lastStep),
    identity,
    accuracies: soFar.accuracies.filter(isBefore),
    knnEveryBefore: soFar.knnEvery,
    losses: soFar.losses.filter(isBefore),
  };
}

/** A number of batches, or the few more that make the last step whole. */
function endOfGroup(
  batches: number,
  { batchesPerEpoch, extraSteps = 0 }: StepCount,
  accumulate: number,
): number {
  if (accumulate === 1 || !Number.isFinite(batches) || batches === extraSteps) return batches;
  const last = (batches - extraSteps - 1) % batchesPerEpoch;
  const { index, size } = groupOf(last, batchesPerEpoch, accumulate);
  return batches + size - 1 - index;
}

/** Fails where an augmentation of one's own makes no views of the sizes that are asked for. */
function checkAugmentations<Options extends EncoderTrainingOptions>(
  method: EncoderMethod<Options>,
  options: Options,
): void {
  const { augmentation, teacherSize = 0, local } = method.views(options);
  findAugmentation(augmentation)(Math.max(options.imageSize, teacherSize));
  if (local?.augmentation !== undefined) findAugmentation(local.augmentation)(local.imageSize);
}

/** What is known of images to learn from; no fingerprint where no file has them. */
type IdentifiedFacts = DataFacts & { fingerprint: string | null };

/** The images to learn from. */
async function findImages(
  options: EncoderTrainingOptions,
  emit: Emit<EncoderTrainingEvent>,
  signal: AbortSignal | undefined,
): Promise<IdentifiedFacts> {
  const { data, images } = options;
  if (images === undefined) {
    const path = await resolveDataset(data, "train", findingListener(emit));
    return await identifyData(path, emit, signal);
  }
  return { path: data, rowCount: images, hasLabels: false, classNames: undefined, fingerprint: null };
}

/** The images to evaluate on; `null` where there are none, or no labels to learn them by. */
async function findTestData(
  images: IdentifiedFacts,
  options: EncoderTrainingOptions,
  emit: Emit<EncoderTrainingEvent>,
  signal: AbortSignal | undefined,
): Promise<ClassifiedImages | null> {
  const test = await findClassified(images, options, emit, signal);
  if (test === null) return null;
  const sampled = sampleVote(images, test, options);
  const { bank, queries } = countVote(images, test);
  const told = ([[sampled.bankRows, bank, "vote"], [sampled.queryRows, queries, "are classified"]] as const)
    .flatMap(([rows, of, what]) => rows === undefined ? [] : [`${rows.length} of ${of} images ${what}`]);
  if (told.length > 0) {
    const text = `kNN by a sample: ${
      told.join(", ")
    }, chosen by --seed ${options.seed}; --knn-images takes more`;
    emit({ type: "note", text });
  }
  const few = describeFewVotes([options.knnK], countVote(images, { ...test, sampled }).bank);
  if (few !== undefined) emit({ type: "note", text: few });
  return { ...test, sampled };
}

/** All images that could be evaluated on. */
async function findClassified(
  images: IdentifiedFacts,
  { data, testData, seed, images: made }: EncoderTrainingOptions,
  emit: Emit<EncoderTrainingEvent>,
  signal: AbortSignal | undefined,
): Promise<ClassifiedImages | null> {
  if (testData === null) return null;
  const isHeldOut = testData === HELD_OUT;
  if (isHeldOut && made !== undefined) return null; // there are no rows
  const { fingerprint, ...facts } = isHeldOut ? images : await identifyData(testData, emit, signal);
  const unlabelled = [images, facts].find(({ hasLabels }) => !hasLabels);
  if (unlabelled !== undefined) {
    emit({ type: "note", text: `no kNN: ${unlabelled.path} has no class labels` });
    return null;
  }
  if (isHeldOut) {
    const heldOut = await holdOut(images.path, seed, emit, signal);
    if (typeof heldOut !== "string") return { ...images, heldOut };
    emit({ type: "note", text: `no kNN: ${heldOut}` });
    return null;
  }
  try {
    checkSameClassNames(images, facts);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const isFound = made === undefined && await findDataset(data, "test") === testData;
    if (!isFound) {
      const advice = "Leave --test-data out to train without these images";
      throw new UserError(`--test-data: ${error.message} ${advice}.`, { cause: error });
    }
    emit({ type: "note", text: `no kNN: ${error.message}` });
    return null;
  }
  warnOfSameImages(images, { ...facts, fingerprint }, emit);
  return facts;
}

/** How images become views: by those to learn from, or by those to be evaluated on where no file has the former. */
function findEvaluationResize(
  { evalResize, images, testData, imageSize }: EncoderTrainingOptions,
  path: string,
): Promise<EvaluationResize> {
  return resolveEvaluationResize(
    evalResize,
    images === undefined ? path : testData === HELD_OUT ? undefined : testData ?? undefined,
    imageSize,
  );
}

/** Fails where an encoder cannot start from its checkpoint, and says what of it is taken. */
async function checkInit(noun: string, encoder: TrainedEncoder, emit: Emit<NoticeEvent>): Promise<void> {
  using init = await openInitialCheckpoint(encoder);
  await init.requireFinite();
  const head = init.takesHead
    ? "with its head"
    : init.hasHead
    ? "with a new head, as the checkpoint's differs"
    : "with a new head, as the checkpoint has none";
  const { mean, std } = init.input ?? {};
  const own = describeInput({ mean, std });
  const [from, to] = [init.encoder, findEncoder(encoder.arch)].map(({ sizes }) => sizes?.usual);
  const resized = from === to ? "" : `; its positions are resized from ${from} to ${to} pixels`;
  const normalized = own === "" ? "" : `; its images are normalised by ${own}`;
  const text =
    `the ${noun} starts from ${encoder.init} (a ${init.framework} checkpoint), ${head}${resized}${normalized}`;
  emit({ type: "note", text });
}

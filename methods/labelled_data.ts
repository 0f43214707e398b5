/** The images of an evaluation that trains: those to learn from, or a share of each class of them, and those to classify. */
import { checkSameClasses, type DataFacts, factsOf, withDecoding } from "../actors/data_facts.ts";
import { type EvaluationResize, resolveEvaluationResize } from "../actors/evaluation_resize.ts";
import type { Emit, NoteEvent, NoticeEvent, ProgressEvent, WarningEvent } from "../actors/events.ts";
import { type ImageCacheOptions, ImageCaches } from "../actors/image_caches.ts";
import { dataListener } from "../actors/notices.ts";
import { fingerprintDataset, fingerprintRows } from "../data/fingerprint.ts";
import { chooseLabelFraction } from "../data/label_fraction.ts";
import type { DecodeOptions } from "../data/decode.ts";
import { BrokenRowError, type Dataset } from "../data/dataset.ts";
import { openDataset } from "../data/open_dataset.ts";
import { UserError } from "../errors.ts";
import type { Term } from "../models/checkpoint/run_terms.ts";
import { contentTerm, termOf } from "./terms.ts";
import type { TrainingOptions } from "./training_options.ts";
import { describeOneClass, describeUnknownClasses } from "./unknown_classes.ts";

/** Labels above which they are taken for something else than numbers of classes: ImageNet-21k has 21,841. */
const MOST_CLASSES = 2 ** 20;

/** What is known of images with labels. */
export type LabelledFacts = DataFacts & { classes: number; fingerprint: string };

/** The images to learn from, and those to classify. */
export interface LabelledData {
  train: LabelledFacts;
  test: LabelledFacts;
  /** The rows to learn from, ascending; `undefined` where all are. */
  rows: Uint32Array<ArrayBuffer> | undefined;
  /** How many that is, broken ones included. */
  trainImages: number;
}

/** Where they are, and what is taken of them. */
export interface LabelledDataOptions {
  /** Images to learn from. */
  data: string;
  /** Images to classify. */
  testData: string;
  /** Classes; `null` for as many as the labels say. */
  classes: number | null;
  /** Share of the images of each class that is learnt from; 1 for all images. */
  labelFraction: number;
  /** Chooses them. */
  seed: number;
  /** Whether nothing is learnt: of the images of `data` none is read. */
  evaluate: boolean;
}

/** Options with a rule for views that is decided. */
export type Resolved<Options> = Options & { evalResize: EvaluationResize } & Pick<DecodeOptions, "leastSide">;

/** Options of a run that trains on labels, and its images. */
export interface PreparedLabels<Options> {
  options: Resolved<Options>;
  data: LabelledData;
  /** Labels are 0 to classes - 1. */
  classes: number;
}

/**
 * Resolves the options against adapter and images, and finds out what these are.
 *
 * @param signal ends it with its reason
 * @throws {UserError} where the labels of the two sets do not mean the same, or there is no classifier to evaluate
 */
export async function prepareLabels<
  Options extends
    & LabelledDataOptions
    & Pick<TrainingOptions, "evalResize" | "imageSize" | "maxPixels" | "fastDecode">
    & { resume: string | null },
>(
  given: Options,
  emit: Emit<NoticeEvent | ProgressEvent>,
  signal: AbortSignal | undefined,
): Promise<PreparedLabels<Options>> {
  if (given.evaluate && given.resume === null) {
    throw new UserError("evaluate: expected the checkpoint of a trained classifier in resume, found none");
  }
  const data = await findLabelledData(given, emit, signal);
  const { train, test } = data;
  const evalResize = await resolveEvaluationResize(given.evalResize, given.data, given.imageSize);
  const options = await withDecoding({ ...given, evalResize });
  return { options, data, classes: options.classes ?? Math.max(train.classes, test.classes) };
}

/**
 * Finds out what the images are, how many classes their labels speak of, and which of them are learnt from; the latter is
 * told, where it is a share. Warnings say which classes are only to be classified, that all images are of one class, and that
 * those to classify are those to learn from. Where nothing is learnt, none are chosen.
 *
 * @throws {UserError} where there are no labels that number classes, or one that is read does not, or those of the two sets do
 *   not mean the same
 */
export async function findLabelledData(
  { data, testData, classes, labelFraction, seed, evaluate }: LabelledDataOptions,
  emit: Emit<NoteEvent | WarningEvent | ProgressEvent>,
  signal?: AbortSignal,
): Promise<LabelledData> {
  const listener = dataListener(emit, signal);
  const look = async (dataset: Dataset, share: number, isRead: boolean) => {
    const found = { ...factsOf(dataset), fingerprint: await fingerprintDataset(dataset) };
    const areCounted = classes === null && dataset.classCount === undefined;
    const labels = share < 1 || isRead || areCounted ? await dataset.readLabels(listener) : new Int32Array();
    const facts: LabelledFacts = classes === null
      ? { ...found, hasLabels: true, classes: countClasses(dataset, labels) }
      : { ...found, classes };
    const rows = share < 1 ? chooseLabelFraction(labels, share, seed) : undefined;
    if (isRead && facts.hasLabels) await checkLabels(dataset, labels, rows, facts.classes);
    return { facts, labels, rows };
  };
  using learntFrom = await openDataset(data, listener);
  using classified = await openDataset(testData, listener);
  const { facts: train, labels, rows } = await look(learntFrom, evaluate ? 1 : labelFraction, !evaluate);
  const { facts: test, labels: testLabels } = await look(classified, 1, true);
  checkSameClasses(train, test);
  if (!evaluate) {
    const learnt = { ...train, labels };
    const warnings = [
      describeUnknownClasses(learnt, { ...test, labels: testLabels }),
      describeOneClass(learnt),
      train.fingerprint === test.fingerprint ? describeSameImages(train, test) : undefined,
    ];
    for (const text of warnings) {
      if (text !== undefined) emit({ type: "warning", text, isCommon: true });
    }
  }
  if (rows === undefined) return { train, test, rows, trainImages: train.rowCount };
  emit({ type: "note", text: describeRows(rows, labels, labelFraction, seed) });
  return { train, test, rows, trainImages: rows.length };
}

/** Says that the images to learn from are classified. */
function describeSameImages(learnt: LabelledFacts, classified: LabelledFacts): string {
  const where = learnt.path === classified.path ? "" : ` of ${learnt.path}`;
  return `${classified.path}: these are the images${where} that are learnt from, so the accuracy says nothing about others. ` +
    "Use other test images (--test-data)";
}

/** How many classes the data has, or where it does not say so, the labels of its rows speak of. */
function countClasses({ path, classCount }: Dataset, labels: Int32Array): number {
  const largest = classCount === undefined
    ? labels.reduce((most, label) => Math.max(most, label), -1)
    : classCount - 1;
  if (largest < 0) {
    throw new UserError(`${path}: expected class labels, which a linear evaluation needs, found none`);
  }
  if (largest >= MOST_CLASSES) {
    throw new UserError(
      `${path}: expected labels that number the classes from 0, found ${largest}, hence ${
        largest + 1
      } classes; renumber the classes, or set --classes`,
    );
  }
  return largest + 1;
}

/**
 * Makes sure that the labels of some rows, or of all, are those of classes. Broken rows, whose label is -1, are passed over by
 * every reader.
 *
 * @throws {UserError} that names the first row that has another one
 */
async function checkLabels(
  dataset: Dataset,
  labels: Int32Array,
  rows: Uint32Array | undefined,
  classes: number,
): Promise<void> {
  for (const row of rows ?? labels.keys()) {
    const label = labels[row];
    if (label >= 0 && label < classes) continue;
    const [found] = await dataset.readRows([row]);
    if (found instanceof BrokenRowError) continue;
    const expected = label < 0
      ? "expected 0 or above; correct the label, or leave the row out"
      : `expected 0 to ${classes - 1} for ${classes} classes; correct the label, or use a larger --classes`;
    throw new UserError(dataset.brokenRow(row, `has label ${label}: ${expected}`).message);
  }
}

/** A sentence about the rows that were chosen. */
function describeRows(
  rows: Uint32Array,
  labels: Int32Array,
  fraction: number,
  seed: number,
): string {
  const counts = new Map<number, number>();
  for (const row of rows) counts.set(labels[row], (counts.get(labels[row]) ?? 0) + 1);
  // There may be more classes than a call takes arguments.
  let [least, most] = [Infinity, 0];
  for (const count of counts.values()) [least, most] = [Math.min(least, count), Math.max(most, count)];
  const each = least === most ? `${least}` : `${least} to ${most}`;
  let unlabelled = 0;
  for (const label of labels) if (label < 0) unlabelled++;
  return `--label-fraction ${fraction}: learning from ${rows.length} of ${labels.length} images, ${each} of each of ` +
    `${counts.size} classes, chosen by --seed ${seed}` +
    (unlabelled === 0 ? "" : `; left out ${unlabelled} without a label`);
}

/**
 * Makes the caches of a run: room for the rows that are learnt from, and for the images to classify.
 *
 * @param isReadOnce whether no image is read a second time
 * @param ranks where several share the machine's memory
 */
export function openCaches(
  { data, testData, cache, evaluate, maxPixels, leastSide }: LabelledDataOptions & DecodeOptions & {
    cache: string;
  },
  { rows }: LabelledData,
  isReadOnce: boolean,
  emit: Emit<NoticeEvent>,
  ranks?: ImageCacheOptions["ranks"],
): Promise<ImageCaches> {
  const read = evaluate ? [testData] : [data, testData];
  const isShare = !evaluate && data !== testData; // else all rows are read
  return ImageCaches.open(
    { cache, data: read, learns: !evaluate, ...isShare && { rows }, isReadOnce, maxPixels, leastSide, ranks },
    emit,
  );
}

/** The terms of the images: the same images, and the same share of them. */
export function dataTerms(
  { labelFraction }: LabelledDataOptions,
  { train, test, rows }: LabelledData,
): Term[] {
  return [
    contentTerm("data", "DATA", train.fingerprint, "images"),
    contentTerm("test_data", "--test-data", test.fingerprint, "images"),
    termOf("labelFraction", labelFraction, true),
    ...rows === undefined ? [] : [
      contentTerm("label_rows", "--label-fraction and --seed", fingerprintRows(rows), "chosen images"),
    ],
  ];
}

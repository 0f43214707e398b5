/** The images of an evaluation that trains: those to learn from, or a share of each class of them, and those to classify. */
import type { RankSettings } from "../actors/ranks/ranks.ts";
import { checkSameClasses, type DataFacts, factsOf, withDecoding } from "../actors/data_facts.ts";
import { type EvaluationResize, resolveEvaluationResize } from "../actors/evaluation_resize.ts";
import type { Emit, NoteEvent, NoticeEvent, ProgressEvent, WarningEvent } from "../actors/events.ts";
import { ImageCaches } from "../actors/image_caches.ts";
import { dataListener } from "../actors/notices.ts";
import { fingerprintDataset, fingerprintRows } from "../data/fingerprint.ts";
import { chooseLabelFraction } from "../data/label_fraction.ts";
import type { DecodeOptions } from "../data/decode.ts";
import { openDataset } from "../data/open_dataset.ts";
import { UserError } from "../errors.ts";
import type { Term } from "../models/checkpoint/run_terms.ts";
import { contentTerm, termOf } from "./terms.ts";
import type { TrainingOptions } from "./training_options.ts";

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
 * @throws {UserError} where the labels of the two sets do not mean the same
 */
export async function prepareLabels<
  Options extends
    & LabelledDataOptions
    & Pick<TrainingOptions, "evalResize" | "imageSize" | "maxPixels" | "fastDecode">,
>(given: Options, emit: Emit<NoticeEvent | ProgressEvent>): Promise<PreparedLabels<Options>> {
  const evalResize = await resolveEvaluationResize(given.evalResize, given.data, given.imageSize);
  const options = await withDecoding({ ...given, evalResize });
  const data = await findLabelledData(options, emit);
  const { train, test } = data;
  checkSameClasses(train, test);
  return { options, data, classes: options.classes ?? Math.max(train.classes, test.classes) };
}

/**
 * Finds out what the images are, how many classes their labels speak of, and which of them are learnt from; the latter is
 * told, where it is a share.
 *
 * @throws {UserError} where there are no labels that number classes
 */
export async function findLabelledData(
  { data, testData, classes, labelFraction, seed }: LabelledDataOptions,
  emit: Emit<NoteEvent | WarningEvent | ProgressEvent>,
): Promise<LabelledData> {
  let labels: Int32Array | undefined;
  const look = async (path: string, takesShare: boolean): Promise<LabelledFacts> => {
    using dataset = await openDataset(path, dataListener(emit));
    const facts = { ...factsOf(dataset), fingerprint: await fingerprintDataset(dataset) };
    if (takesShare) labels = dataset.readLabels();
    if (classes !== null) return { ...facts, classes };
    const largest = dataset.largestLabel();
    if (largest === undefined || largest < 0) {
      throw new UserError(`${path}: expected class labels, which a linear evaluation needs, found none`);
    }
    if (largest >= MOST_CLASSES) {
      throw new UserError(
        `${path}: expected labels that number the classes from 0, found ${largest}, hence ${
          largest + 1
        } classes; renumber the classes, or set --classes`,
      );
    }
    return { ...facts, hasLabels: true, classes: largest + 1 };
  };
  const [train, test] = await Promise.all([look(data, labelFraction < 1), look(testData, false)]);
  if (labels === undefined) return { train, test, rows: undefined, trainImages: train.rowCount };
  const rows = chooseLabelFraction(labels, labelFraction, seed);
  emit({ type: "note", text: describeRows(rows, labels, labelFraction, seed) });
  return { train, test, rows, trainImages: rows.length };
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
  const [least, most] = [Math.min(...counts.values()), Math.max(...counts.values())];
  const each = least === most ? `${least}` : `${least} to ${most}`;
  return `--label-fraction ${fraction}: learning from ${rows.length} of ${labels.length} images, ${each} of each of ` +
    `${counts.size} classes, chosen by --seed ${seed}`;
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
    evaluate: boolean;
  },
  { rows }: LabelledData,
  isReadOnce: boolean,
  emit: Emit<NoticeEvent>,
  ranks?: Pick<RankSettings, "onMachine">,
): Promise<ImageCaches> {
  const read = evaluate ? [testData] : [data, testData];
  const isShare = !evaluate && data !== testData; // else all rows are read
  const processes = ranks?.onMachine;
  return ImageCaches.open(
    { cache, data: read, ...isShare && { rows }, isReadOnce, maxPixels, leastSide, processes },
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

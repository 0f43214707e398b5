/** What a run needs to know of its images before it reads them, and what is wrong with them. */
import { checkSameClassNames, type Dataset } from "../data/dataset.ts";
import { DEFAULT_MAX_PIXELS } from "../data/decode.ts";
import { fingerprintDataset } from "../data/fingerprint.ts";
import { openDataset } from "../data/open_dataset.ts";
import { UserError } from "../errors.ts";
import { describeAdapter } from "../kernels/gpu.ts";
import { maxImagePixels } from "../kernels/image/view_plan.ts";
import type { Emit, ProgressEvent, WarningEvent } from "./events.ts";
import { dataListener } from "./notices.ts";

/** What is kept of a data set when it is closed. */
export type DataFacts = Pick<Dataset, "path" | "rowCount" | "hasLabels" | "classNames">;

/**
 * Opens data once, so that what is wrong with it is said before anything is started. Its fingerprint is what the same data is known
 * again by.
 */
export async function identifyData(
  path: string,
  emit: Emit<WarningEvent | ProgressEvent>,
  signal?: AbortSignal,
): Promise<DataFacts & { fingerprint: string }> {
  using dataset = await openDataset(path, dataListener(emit, signal));
  return { ...factsOf(dataset), fingerprint: await fingerprintDataset(dataset) };
}

/** What is known of data that is open, to keep when it is closed. */
export function factsOf({ path, rowCount, hasLabels, classNames }: Dataset): DataFacts {
  return { path, rowCount, hasLabels, classNames };
}

/** How images of a run are decoded, as far as its options say. */
export interface DecodingOptions {
  /** Maximum pixels of an image; a larger one counts as broken. */
  maxPixels?: number;
  /** Decode JPEGs to a half, a quarter or an eighth of their size, where they stay twice as large as views. */
  fastDecode?: boolean;
  /** Side of a view, in pixels. */
  imageSize: number;
  /** The same for the teacher, if that is another one. */
  teacherSize?: number;
}

/** Sides of views that the shorter side of an image keeps at least, where it is decoded at a fraction of its size. */
const VIEWS_A_SIDE = 2;

/**
 * Returns the most pixels that an image may have: views are made of images that fit one binding of the adapter. A program that sends
 * images to an `augmenter` gives it to `decodeImage()` as `maxPixels`.
 *
 * @param most wanted, whatever the adapter. Default: 2^27, that of `decodeImage()`
 * @throws {NoAdapterError} where there is no adapter
 */
export async function maxPixelsOfAdapter(most: number = DEFAULT_MAX_PIXELS): Promise<number> {
  const { maxBindingBytes } = await describeAdapter();
  return Math.min(most, maxImagePixels(maxBindingBytes));
}

/**
 * The options with what they mean for a decoder: no more pixels an image than the adapter can make views of, where a larger image
 * counts as broken; and with `fastDecode` the side that an image keeps at least.
 *
 * @throws {NoAdapterError} where there is no adapter
 */
export async function withDecoding<Options extends DecodingOptions>(
  options: Options,
): Promise<Options & { maxPixels: number; leastSide?: number }> {
  const { maxPixels, fastDecode, imageSize, teacherSize = 0 } = options;
  return {
    ...options,
    maxPixels: await maxPixelsOfAdapter(maxPixels),
    ...fastDecode && { leastSide: VIEWS_A_SIDE * Math.max(imageSize, teacherSize) },
  };
}

/**
 * Makes sure that a label means the same in the images to learn from and in those to be classified.
 *
 * @throws {UserError} where one has no labels, or both name their classes and the names differ
 */
export function checkSameClasses(learnt: DataFacts, classified: DataFacts): void {
  for (const { path, hasLabels } of [learnt, classified]) {
    if (!hasLabels) {
      throw new UserError(
        `${path}: expected class labels (in a folder of images: one subfolder per class), found none`,
      );
    }
  }
  checkSameClassNames(learnt, classified);
}

/** What is said of data in which no image can be used. */
export function noImages(path: string): string {
  return `${path}: found no usable image in any row`;
}

/** How classifiers do on images: per batch as the device tells it, and over an epoch. */
import { labelsOf } from "../actors/labelled_features.ts";
import { type PackedImages, TABLE_STRIDE } from "../data/pack.ts";
import { UserError } from "../errors.ts";

/** Fresh weights of a classifier are drawn from N(0, 0.01), biases are 0, as in the original's main_lincls.py. */
export const INITIAL_CLASSIFIER = { draw: "normal", deviation: 0.01 } as const;

/** Scores of a classifier on some images. */
export interface ClassificationScore {
  /** Mean cross-entropy. */
  loss: number;
  /** Top-1 accuracy, in percent. */
  top1: number;
  /** Top-5 accuracy, in percent. */
  top5: number;
}

/** How a classifier did on a batch. */
export interface BatchResult {
  /** Mean cross-entropy of the rows. */
  loss: number;
  /** Rows whose label's logit was the largest. */
  top1: number;
  /** Rows whose label's logit was among the five largest. */
  top5: number;
}

/**
 * Sums up what `crossEntropy` says of each row.
 *
 * @param states [n, 4], float32
 * @param rows how many of them there are this time
 */
export function readRowStates(states: Float32Array, rows: number): BatchResult {
  const result = { loss: 0, top1: 0, top5: 0 };
  for (let row = 0; row < rows; row++) {
    const [, , loss, rank] = states.subarray(row * 4);
    result.loss += loss / rows;
    // A logit that is no number has no rank.
    if (Number.isNaN(loss)) continue;
    if (rank < 1) result.top1++;
    if (rank < 5) result.top5++;
  }
  return result;
}

/**
 * Labels for the device.
 *
 * @param labels at most `batch`
 * @returns [batch]; zeros behind them
 * @throws {Error} where one is not below `classes`
 */
export function padLabels(
  labels: ArrayLike<number>,
  batch: number,
  classes: number,
): Uint32Array<ArrayBuffer> {
  const padded = new Uint32Array(batch);
  padded.set(labels);
  const wrong = padded.findIndex((label) => label >= classes);
  if (wrong >= 0) throw new Error(`label ${labels[wrong]} of row ${wrong} is not one of ${classes} classes`);
  return padded;
}

/** Sums of how some classifiers did, side by side, on the images of an epoch. */
export class Tally {
  /** Images so far. */
  images = 0;
  /** Of each classifier: the loss summed over the images, and images that were classified rightly. */
  readonly sums: BatchResult[] = [];

  /** Forgets all. */
  clear(): void {
    this.restore(0, []);
  }

  /** Goes on from earlier sums. */
  restore(images: number, sums: readonly BatchResult[]): void {
    this.images = images;
    this.sums.splice(0, Infinity, ...sums);
  }

  /** Adds a batch of so many images. */
  add(images: number, results: readonly BatchResult[]): void {
    this.images += images;
    for (const [i, { loss, top1, top5 }] of results.entries()) {
      this.sums[i] ??= { loss: 0, top1: 0, top5: 0 };
      this.sums[i].loss += loss * images;
      this.sums[i].top1 += top1;
      this.sums[i].top5 += top5;
    }
  }

  /** Of each classifier; empty where there was no image. */
  scores(): ClassificationScore[] {
    return this.sums.map((sum) => scoreOf(sum, this.images, this.images));
  }
}

/** Counts of images as shares of them, in percent; the loss is divided by `losses`. */
export function scoreOf({ loss, top1, top5 }: BatchResult, images: number, losses = 1): ClassificationScore {
  return { loss: loss / losses, top1: 100 * top1 / images, top5: 100 * top5 / images };
}

/**
 * The labels of a batch, which must be those of classes.
 *
 * @throws {UserError} that names the row of the data
 */
export function classLabelsOf(images: PackedImages, classes: number): number[] {
  const labels = labelsOf(images);
  const wrong = labels.findIndex((label) => label < 0 || label >= classes);
  if (wrong < 0) return labels;
  throw new UserError(
    `row ${images.table[wrong * TABLE_STRIDE + 3] + 1} has label ${labels[wrong]}: expected 0 to ${
      classes - 1
    } for ` +
      `${classes} classes; correct the label, or use a larger --classes`,
  );
}

/** How images become views where nothing is drawn at random: in evaluations, and where they are embedded. */
import { BrokenRowError, type DatasetRow } from "../data/dataset.ts";
import { readImageHeader } from "../data/image_header.ts";
import { openDataset } from "../data/open_dataset.ts";
import type { ResizeFilter } from "../kernels/image/resize_table.ts";
import { CROP_RATIOS, CROPPED_FROM, RESIZE_RULES } from "../models/checkpoint/saved_input.ts";

/**
 * How evaluation resizes all images of a run:
 * - `torchvision`: `Resize(size * 256 / 224)` of the shorter side and `CenterCrop(size)`, as for ImageNet, whatever size a
 *   image has;
 * - `none`: the shorter side is resized to `size`, so that a square image loses nothing at its edges, and one of
 *   `size` x `size` is left as it is;
 * - `torchvision-bicubic`, `none-bicubic`: the same by a bicubic filter, not by a bilinear one.
 */
export type EvaluationResize = "torchvision" | "none" | "torchvision-bicubic" | "none-bicubic";

/** A rule, or `auto` or `auto-bicubic` for the one that {@linkcode resolveEvaluationResize} finds. */
export type EvaluationResizeChoice = EvaluationResize | "auto" | "auto-bicubic";

/** The values of `--eval-resize`. */
export const EVALUATION_RESIZES = [
  "auto",
  "torchvision",
  "none",
  "auto-bicubic",
  "torchvision-bicubic",
  "none-bicubic",
] as const satisfies readonly EvaluationResizeChoice[];

/** Rows that are looked at, spread over the data. */
const LOOKED_AT = 64;

/**
 * Shorter side that an image is resized to before a view is cut from its middle.
 *
 * @param size of the view, in pixels
 */
export function shorterSide(size: number, resize: EvaluationResize): number {
  return RESIZE_RULES[resize].cropRatio === CROP_RATIOS.none ? size : Math.round(size * 256 / 224);
}

/** The filter that images are resized by. */
export function filterOf(resize: EvaluationResize): ResizeFilter {
  return RESIZE_RULES[resize].interpolation;
}

/**
 * The rule of a run, for all its data: `auto` is `none` where views are smaller than 64 pixels and the images of the
 * data (64 rows of it, spread evenly) have exactly their size, as CIFAR's and the bundled ones at 32, and else
 * `torchvision`. `auto-bicubic` is one of these by a bicubic filter.
 *
 * @param choice what was asked for; `auto` where it is left out
 * @param data path of the images to learn from, of the bank, or of those to embed; `undefined` where no file has them
 * @param imageSize side of a view, in pixels
 */
export async function resolveEvaluationResize(
  choice: EvaluationResizeChoice | undefined,
  data: string | undefined,
  imageSize: number,
): Promise<EvaluationResize> {
  if (choice === "auto-bicubic") {
    return await resolveEvaluationResize("auto", data, imageSize) === "none"
      ? "none-bicubic"
      : "torchvision-bicubic";
  }
  if (choice !== undefined && choice !== "auto") return choice;
  if (imageSize >= CROPPED_FROM || data === undefined) return "torchvision";
  using dataset = await openDataset(data);
  const count = Math.min(LOOKED_AT, dataset.rowCount);
  const rows = Array.from({ length: count }, (_, i) => Math.floor(i * dataset.rowCount / count));
  const sizes = (await dataset.readRows(rows)).map(sizeOf).filter((size) => size !== undefined);
  const fits = sizes.every(({ width, height }) => width === imageSize && height === imageSize);
  return fits && sizes.length > 0 ? "none" : "torchvision";
}

/** Of a row's image, in pixels; `undefined` where it has none that can be read. */
function sizeOf(row: DatasetRow | BrokenRowError): { width: number; height: number } | undefined {
  if (row instanceof BrokenRowError) return undefined;
  const { image } = row;
  if (!(image instanceof Uint8Array)) return image;
  const header = readImageHeader(image);
  return header !== undefined && header.width * header.height > 0 ? header : undefined;
}

/** The rule in words, for a person. */
export function describeEvaluationResize(resize: EvaluationResize, size: number): string {
  const filter = filterOf(resize) === "bicubic" ? ", bicubic" : "";
  const side = shorterSide(size, resize);
  return side === size
    ? `the shorter side to ${size} pixels${filter}, which leaves ${size} x ${size} as it is (--eval-resize ${resize})`
    : `the shorter side to ${side} pixels${filter}, then the middle ${size} x ${size} (--eval-resize ${resize})`;
}

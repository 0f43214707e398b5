/** Which views an encoder is given: those that are asked for, else what its checkpoint says, else the usual ones. */
import { resolve, sep } from "node:path";
import type { EvaluationResizeChoice } from "../actors/evaluation_resize.ts";
import { SAMPLE_DATA } from "../data/sample.ts";
import { CROP_RATIOS, RESIZE_RULES, type SavedInput } from "../models/checkpoint/saved_input.ts";
import { chooseInput, type InputSource, PAPER_IMAGE_SIZE } from "../models/encoder_input.ts";

/** Requested view settings; those omitted come from the checkpoint. */
export interface AskedViews {
  /** Height and width of a view, in pixels. */
  imageSize?: number;
  /** How images are resized; `auto` decides by the images. */
  evalResize?: EvaluationResizeChoice;
}

/** What is taken. */
export interface ChosenViews {
  /** Height and width of a view, in pixels. */
  imageSize: number;
  /** How images are resized. */
  evalResize: EvaluationResizeChoice;
  /** Where that is from, for a person; `undefined` where there is nothing to say. */
  note: string | undefined;
}

/** Side of the bundled images, in pixels. */
const SAMPLE_IMAGE_SIZE = 32;
const OF_SAMPLE = { imageSize: SAMPLE_IMAGE_SIZE, from: "the size of the bundled images" };

/** What `--help` says of the size of images where no file says one. */
export const USUAL_SIZE_NOTE: string = `${PAPER_IMAGE_SIZE} (DINOv3: 256, CIFAR: 32)`;

/** What `--help` says of the two flags where they are not given; `checkpoint` is the one that is asked. */
export function viewDefaultNotes(checkpoint: string): { imageSize: string; evalResize: string } {
  return {
    imageSize: `default: from ${checkpoint}, else ${USUAL_SIZE_NOTE}; bundled images: ${SAMPLE_IMAGE_SIZE}`,
    evalResize:
      `default: from ${checkpoint}, else auto; auto-bicubic for DINO, DINOv2 and DINOv3; none for stems for CIFAR`,
  };
}

/** The same of tasks that evaluate an encoder. */
export const VIEW_DEFAULT_NOTES = viewDefaultNotes("the checkpoint");

/**
 * Decides by the rule of `chooseInput`; where nobody says a size, that of the bundled images is taken for these.
 *
 * @param source the encoder's checkpoint; `null` for fresh weights
 * @param data path of the images
 */
export function chooseViews(
  source: InputSource | null,
  { imageSize: size, evalResize: resize }: AskedViews,
  data: string,
): ChosenViews {
  const asked = resize && { cropRatio: "auto" as const, ...resizedBy(resize) };
  const usual = isSample(data) ? OF_SAMPLE : undefined;
  const { note, ...chosen } = chooseInput(source, { imageSize: size, ...asked }, usual);
  return { imageSize: chosen.imageSize, evalResize: resizeOf(chosen), note };
}

/** The rule that takes such a share of an image, by such a filter; `auto` where no share is said. */
function resizeOf({ cropRatio, interpolation }: Pick<SavedInput, "cropRatio" | "interpolation">) {
  const rule = cropRatio === undefined ? "auto" : cropRatio === CROP_RATIOS.none ? "none" : "torchvision";
  return interpolation === "bicubic" ? `${rule}-bicubic` as const : rule;
}

/** The share of an image that a rule takes, absent where that is not decided, and its filter. */
export function resizedBy(
  resize: EvaluationResizeChoice,
): Pick<SavedInput, "cropRatio"> & Required<Pick<SavedInput, "interpolation">> {
  if (resize === "auto") return { interpolation: "bilinear" };
  return resize === "auto-bicubic" ? { interpolation: "bicubic" } : RESIZE_RULES[resize];
}

function isSample(data: string): boolean {
  const path = resolve(data);
  return path === SAMPLE_DATA || path.startsWith(SAMPLE_DATA + sep);
}

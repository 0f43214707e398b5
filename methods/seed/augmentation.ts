/** How a distillation makes views: one of each image, by the teacher's rule, and local views where they are asked for. */
import type { LocalViewOptions } from "../../actors/messages.ts";
import { mapShape } from "../../models/inference.ts";
import { DEFAULT_LOSS, usesMaps } from "../../models/loss/losses.ts";
import { findEncoder } from "../../models/registry.ts";
import type { InputSource } from "../../models/encoder_input.ts";
import { type AskedViews, chooseViews, type ChosenViews } from "../encoder_views.ts";
import type { DistillOptions } from "./options.ts";

/**
 * Name of the augmentation: where none is said it is as the original chooses it, by the teacher, and in
 * main_small-patch.py always SWAV's.
 */
export function augmentationOf(
  { augmentation, teacherSsl, studentMlp, smallViews }: Pick<
    DistillOptions,
    "augmentation" | "teacherSsl" | "studentMlp" | "smallViews"
  >,
): string {
  if (augmentation !== undefined) return augmentation;
  if (smallViews > 0 || teacherSsl === "swav") return "swav";
  if (teacherSsl === "simclr") return "simclr";
  return studentMlp ? "mocov2" : "mocov1";
}

/** Height and width of the teacher's views, in pixels. */
export function teacherSizeOf(
  { imageSize, teacherSize = imageSize }: Pick<DistillOptions, "imageSize" | "teacherSize">,
): number {
  return teacherSize;
}

/** Height, width and channels of the teacher's feature maps, where the loss compares maps. */
export function teacherMapOf(
  { teacherArch, loss = DEFAULT_LOSS, ...sizes }: Pick<
    DistillOptions,
    "teacherArch" | "loss" | "imageSize" | "teacherSize"
  >,
): readonly [number, number, number] | undefined {
  return usesMaps(loss) ? mapShape(findEncoder(teacherArch), teacherSizeOf(sizes)) : undefined;
}

/**
 * Decides which views there are, by the teacher's checkpoint where nobody says. With `teacherSize` it is that which must suit the
 * teacher; `imageSize` is then the student's.
 */
export function chooseDistillViews(
  teacher: InputSource,
  { teacherSize, imageSize, evalResize }: AskedViews & Pick<DistillOptions, "teacherSize">,
  data: string,
): ChosenViews {
  if (teacherSize === undefined) return chooseViews(teacher, { imageSize, evalResize }, data);
  const views = chooseViews(teacher, { imageSize: teacherSize, evalResize }, data);
  return { ...views, imageSize: imageSize ?? chooseViews(teacher, { evalResize }, data).imageSize };
}

/** The small views that the options ask for, if any. */
export function localViewsOf(
  { smallViews, smallSize }: Pick<DistillOptions, "smallViews" | "smallSize">,
): LocalViewOptions | undefined {
  return smallViews === 0 ? undefined : { views: smallViews, imageSize: smallSize };
}

/** How a distillation makes views: one of each image, by the teacher's rule, and local views where they are asked for. */
import type { LocalViewOptions } from "../../actors/messages.ts";
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

/** The small views that the options ask for, if any. */
export function localViewsOf(
  { smallViews, smallSize }: Pick<DistillOptions, "smallViews" | "smallSize">,
): LocalViewOptions | undefined {
  return smallViews === 0 ? undefined : { views: smallViews, imageSize: smallSize };
}

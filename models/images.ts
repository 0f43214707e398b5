/** How images enter an encoder. */
import type { Graph, Tensor } from "../kernels/graph.ts";
import {
  normalizePixels,
  type NormalizePixelsAttributes,
} from "../kernels/ops/normalize_pixels/normalize_pixels.ts";
import type { SavedInput } from "./checkpoint/saved_input.ts";

/** `pixels`: packed RGBA8, normalised by the first kernel; `normalized`: float32 [n, h, w, 3], as tests have it. */
export type ImageInput = "pixels" | "normalized";

/** ImageNet's mean and deviation, which all of the original's encoders are trained with. */
export const IMAGENET_NORMALIZATION = {
  mean: [0.485, 0.456, 0.406],
  deviation: [0.229, 0.224, 0.225],
} as const;

/** Per channel, in units of [0, 1]: an encoder takes pixels less the mean, divided by the deviation. */
export type Normalization = NormalizePixelsAttributes;

/** Returns what pixels are normalised by where a checkpoint says this of its images: ImageNet's for what it leaves out. */
export function normalizationOf({ mean, std }: Pick<SavedInput, "mean" | "std"> = {}): Normalization {
  const { mean: usualMean, deviation: usualStd } = IMAGENET_NORMALIZATION;
  return { mean: mean ?? usualMean, deviation: std ?? usualStd };
}

/** The tensor that the host writes, and the images [n, h, w, 3] made of it. */
export function traceImages(
  graph: Graph,
  input: ImageInput,
  batch: number,
  imageSize: number,
  normalization: Normalization = IMAGENET_NORMALIZATION,
): { source: Tensor; images: Tensor } {
  if (input === "normalized") {
    const source = graph.source("images", [batch, imageSize, imageSize, 3]);
    return { source, images: source };
  }
  const source = graph.source("pixels", [batch, imageSize, imageSize], "u32");
  return { source, images: graph.apply(normalizePixels, [source], normalization) };
}

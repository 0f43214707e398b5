/** Encoders of the same weights that give different features: the class token, the mean of the patch tokens, or both. */
import { UserError } from "../errors.ts";
import type { Tensor } from "../kernels/graph.ts";
import { concatenateChannels } from "../kernels/ops/concatenate_channels/concatenate_channels.ts";
import { globalAveragePool } from "../kernels/ops/global_average_pool/global_average_pool.ts";
import type { SavedInput } from "./checkpoint/saved_input.ts";
import { type Encoder, type FeatureKind, FEATURES } from "./encoder.ts";
import type { EncoderBuilder } from "./encoder_builder.ts";

/** What follows an encoder's name, by the feature that it gives. */
const SUFFIXES: Readonly<Record<FeatureKind, string>> = { cls: "", mean: "_mean", "cls+mean": "_cls_mean" };

/** Returns the name of an encoder that gives a feature: `dinov2_vits14_mean`; `name` is that with the class token. */
export function nameWithFeature(name: string, feature: FeatureKind): string {
  return name + SUFFIXES[feature];
}

/** Reads a name that {@linkcode nameWithFeature} made. */
export function splitFeature(name: string): { name: string; feature: FeatureKind } {
  const feature = FEATURES.findLast((kind) => name.endsWith(SUFFIXES[kind]))!;
  return { name: name.slice(0, name.length - SUFFIXES[feature].length), feature };
}

/** Returns the length of a feature, of tokens of `width` numbers. */
export function featureLength(width: number, feature: FeatureKind): number {
  return feature === "cls+mean" ? 2 * width : width;
}

/** Whether tokens of `width` numbers give a feature: two are joined by vectors of four. */
export function givesFeature(width: number, feature: FeatureKind): boolean {
  return feature !== "cls+mean" || width % 4 === 0;
}

/** The tokens that features are made of, each after the last norm. Only what is asked for is traced. */
export interface FeatureTokens {
  /** Class token [n, 1, 1, width]. */
  cls(): Tensor;
  /** Patch tokens [n, h, w, width], in any shape of as many pixels. */
  patches(): Tensor;
  /** Patch tokens [n, h, w, width]. */
  map(): Tensor;
}

/** Traces a feature: [n, 1, 1, {@linkcode featureLength}]. */
export function traceFeature(
  { graph }: EncoderBuilder,
  feature: FeatureKind,
  { cls, patches }: FeatureTokens,
): Tensor {
  const mean = () => graph.apply(globalAveragePool, [patches()], {});
  switch (feature) {
    case "cls":
      return cls();
    case "mean":
      return mean();
    case "cls+mean":
      return graph.apply(concatenateChannels, [cls(), mean()], {});
  }
}

/** Returns the feature that a checkpoint's encoder was trained with, by what the file says: the class token where it says none. */
export function featureOf({ feature = "cls" }: Pick<SavedInput, "feature"> = {}): FeatureKind {
  return feature;
}

/**
 * Returns the feature that a checkpoint says, where an encoder was asked for by a name that leaves it to that: the one with the class
 * token.
 *
 * @param saved what the checkpoint says; `undefined` where it says nothing
 */
export function featureLeftOpen(
  { feature }: Pick<Encoder, "feature">,
  saved: FeatureKind | undefined,
): FeatureKind | undefined {
  return feature === "cls" ? saved : undefined;
}

/**
 * Returns the encoder with the same weights that gives the feature which a checkpoint says; the encoder itself where it says none, or
 * one that the encoder does not have.
 */
export function withSavedFeature(encoder: Encoder, saved: FeatureKind | undefined): Encoder {
  if (saved === undefined || encoder.withFeature === undefined) return encoder;
  return givesFeature(encoder.withFeature("cls").features, saved) ? encoder.withFeature(saved) : encoder;
}

/**
 * Returns the encoder with the same weights that gives a feature; the encoder itself where none is named.
 *
 * @throws {UserError} for an encoder without tokens, or whose tokens do not give it
 */
export function chooseFeature(encoder: Encoder, feature: FeatureKind | undefined): Encoder {
  if (feature === undefined) return encoder;
  if (encoder.withFeature !== undefined) {
    const { features: width } = encoder.withFeature("cls");
    if (givesFeature(width, feature)) return encoder.withFeature(feature);
    throw new UserError(
      `${encoder.name} has no --feature ${feature}: its tokens have ${width} numbers, and two are joined where that is a ` +
        "multiple of 4; use --feature cls or --feature mean",
    );
  }
  throw new UserError(
    `${encoder.name} has no --feature ${feature}: it has one pooled feature, and no class token; leave --feature ${feature} out`,
  );
}

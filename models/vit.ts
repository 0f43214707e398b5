/**
 * Vision transformers of DINO (Caron et al. 2021), DINOv2 (Oquab et al. 2023), DINOv3 (Simeoni et al. 2025) and MoCo-v3
 * (Chen et al. 2021), under the names that their authors released them with.
 */
import { UserError } from "../errors.ts";
import { describeImageSize, type Encoder, type FeatureKind, type ImageSizes } from "./encoder.ts";
import type { EncoderFamily } from "./encoder_family.ts";
import { featureLength, nameWithFeature, splitFeature, traceFeature } from "./features.ts";
import { nameOfVit, readVitShape, RELEASED_VITS, vitNamed, type VitShape, widthOfVit } from "./vit_shape.ts";
import { traceVit } from "./vit_layers.ts";
import { projectionHead } from "./heads.ts";

/** Encoders that were asked for, by name: what is known of an encoder is kept by its object. */
const known = new Map<string, Encoder>();

/** The encoder of a shape. */
function vit(shape: VitShape, feature: FeatureKind = "cls"): Encoder {
  const name = nameWithFeature(nameOfVit(shape), feature);
  const encoder = known.get(name) ?? makeVit(name, shape, feature);
  known.set(name, encoder);
  return encoder;
}

function makeVit(name: string, shape: VitShape, feature: FeatureKind): Encoder {
  const { method, width } = shape;
  const features = featureLength(width, feature);
  return {
    name,
    family: "vision transformer",
    roles: ["teacher"],
    ssl: method,
    head: "none",
    exports: ["pth", "safetensors"],
    features,
    feature,
    withFeature: (other) => vit(shape, other),
    sizes: sizesOf(shape),
    ignores: IGNORED,
    trace(b, images, head) {
      const [, height, wide] = images.shape;
      const problem = describeImageSize(sizesOf(shape), height, wide);
      if (problem !== undefined) throw new UserError(`${name} takes ${problem}`);
      const tokens = traceVit(b, images, shape);
      const pooled = traceFeature(b, feature, tokens);
      return { feature: pooled, map: tokens.map, embedding: projectionHead(b, "fc", features, head)(pooled) };
    },
  };
}

/** What embeddings do without: tokens of masked patches, tables that are computed here, norms and heads of training. */
const IGNORED =
  /^(mask_token|masked_embed|rope_embed\.periods|local_cls_norm\..*|dino_head\..*|ibot_head\..*|head\..*|blocks\.\d+\.attn\.qkv\.bias_mask)$/;

/** Size of DINOv2's evaluations; its table of positions is for a larger one. */
const DINOV2_SIZE = 224;
/** Size of DINOv3's own examples. */
const DINOV3_SIZE = 256;

function sizesOf({ method, patch, grid }: VitShape): ImageSizes {
  const ofTable = grid * patch;
  switch (method) {
    case "dinov2":
      return { usual: Math.min(DINOV2_SIZE, ofTable), multiple: patch };
    case "dinov3":
      return { usual: DINOV3_SIZE, multiple: patch };
    case "dino":
      return { usual: ofTable, multiple: patch };
    case "mocov3":
      return { usual: ofTable, multiple: patch, fixed: true };
  }
}

/** The family: of any width, depth, patch and so on, see {@linkcode VitShape}. */
export const VIT: EncoderFamily = {
  released: Object.values(RELEASED_VITS).map((shape) => vit(shape)),
  recognize(tensors, clues) {
    const shape = readVitShape(tensors, clues);
    return shape && vit(shape);
  },
  explain(tensors, clues) {
    const width = widthOfVit(tensors);
    return width === undefined || readVitShape(tensors, clues) !== undefined
      ? undefined
      : `is a vision transformer of width ${width}: say with --heads how many heads it has, a divisor of its width`;
  },
  named(name) {
    const { name: plain, feature } = splitFeature(name);
    const shape = vitNamed(plain);
    return shape && vit(shape, feature);
  },
};

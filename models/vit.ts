/**
 * Vision transformers of DINO (Caron et al. 2021), DINOv2 (Oquab et al. 2023), DINOv3 (Simeoni et al. 2025) and MoCo-v3
 * (Chen et al. 2021), under the names that their authors released them with.
 */
import { type Encoder, type FeatureKind, type ImageSizes, requireSize, type UnusedEntry } from "./encoder.ts";
import type { EncoderFamily } from "./encoder_family.ts";
import { featureLength, nameWithFeature, splitFeature, traceFeature } from "./features.ts";
import {
  headMultiple,
  nameOfVit,
  readVitShape,
  RELEASED_VITS,
  vitMethodOf,
  vitNamed,
  type VitShape,
  widthOfVit,
} from "./vit_shape.ts";
import { traceVit } from "./vit_layers.ts";
import { projectionHead } from "./heads.ts";

/** Encoders that were asked for, by name: what is known of an encoder is kept by its object. */
const known = new Map<string, Encoder>();

/** The encoder of a shape. */
function vit(shape: VitShape, feature: FeatureKind = "cls"): Encoder {
  const name = nameWithFeature(nameOfVit(shape), feature);
  const encoder = known.get(name) ?? makeVit(name, shape, feature, (other) => vit(shape, other));
  known.set(name, encoder);
  return encoder;
}

/** DeiT's rate of stochastic depth, `--drop-path` of its `main.py`; that of DINO's students too. */
const DROP_PATH = 0.1;

/**
 * Makes the encoder of a shape, of a name of its own.
 *
 * @param withFeature the encoder of the same weights that gives another feature
 */
export function makeVit(
  name: string,
  shape: VitShape,
  feature: FeatureKind,
  withFeature: (feature: FeatureKind) => Encoder,
): Encoder {
  const { method, width } = shape;
  const features = featureLength(width, feature);
  return {
    name,
    family: "vision transformer",
    roles: ["teacher"],
    ssl: method,
    head: "none",
    features,
    feature,
    withFeature,
    optimizer: "adamw",
    dropPath: DROP_PATH,
    sizes: sizesOf(shape),
    heads: shape.heads,
    unused: unusedOf(shape),
    ignores: method === "dino" ? IGNORED_WITH_MAE : IGNORED,
    trace(b, images, head) {
      const [, height, wide] = images.shape;
      requireSize({ name, sizes: sizesOf(shape) }, height, wide);
      const tokens = traceVit(b, images, shape);
      const pooled = traceFeature(b, feature, tokens);
      return { feature: pooled, map: tokens.map, embedding: projectionHead(b, "fc", features, head)(pooled) };
    },
  };
}

/** Heads of training. */
const IGNORED = /^(dino_head|ibot_head|head)\./;
/** MAE's encoders have DINO's names and shapes, and its trainings a decoder beside them. */
const IGNORED_WITH_MAE = new RegExp(`${IGNORED.source}|^mask_token$|^decoder_`);

/**
 * What embeddings do without: the token of masked patches, which iBOT calls `masked_embed`; DINOv3's norm of local views' class
 * tokens, and its masks of biases, which are zero for keys.
 */
function unusedOf({ method, width, blocks, bias }: VitShape): UnusedEntry[] {
  const zeros = { draw: "constant", value: 0 } as const;
  if (method === "mocov3") return [];
  if (method === "dino") return [{ key: "masked_embed", shape: [1, width] }];
  const maskToken = { key: "mask_token", shape: [1, width], otherwise: zeros };
  if (method === "dinov2") return [maskToken];
  const isBiased = Array.from({ length: 3 * width }, (_, i) => i >= width && i < 2 * width ? 0 : 1);
  const masks = Array.from({ length: bias ? blocks : 0 }, (_, i) => ({
    key: `blocks.${i}.attn.qkv.bias_mask`,
    shape: [3 * width],
    otherwise: { draw: "given", values: isBiased } as const,
  }));
  const norm = ["weight", "bias"].map((name) => ({ key: `local_cls_norm.${name}`, shape: [width] }));
  return [maskToken, ...masks, ...norm];
}

/** Size of DINOv2's evaluations; its table of positions is for a larger one. */
const DINOV2_SIZE = 224;
/** Size of DINOv3's own examples. */
const DINOV3_SIZE = 256;

function sizesOf({ method, patch, grid }: VitShape): ImageSizes {
  const ofTable = grid * patch;
  const nearest = (size: number) => Math.max(1, Math.round(size / patch)) * patch;
  switch (method) {
    case "dinov2":
      return { usual: Math.min(nearest(DINOV2_SIZE), ofTable), multiple: patch };
    case "dinov3":
      return { usual: nearest(DINOV3_SIZE), multiple: patch };
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
      : `is a vision transformer of width ${width}: say with --heads how many heads it has, a divisor of its width ` +
        `that leaves each a multiple of ${headMultiple(vitMethodOf(tensors, clues))} numbers`;
  },
  named(name) {
    const { name: plain, feature } = splitFeature(name);
    const shape = vitNamed(plain);
    return shape && vit(shape, feature);
  },
};

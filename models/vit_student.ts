/**
 * Vision transformers that are trained here: DeiT's tiny and small (Touvron et al. 2021, `models.py`), which are timm's
 * `vit_tiny_patch16_224` and `vit_small_patch16_224` without their classifier, under the same names.
 *
 * A table of learned positions is for one size of images, so an encoder is made for a size, which its name says where it is not
 * the usual one: `vit_tiny` for 224 x 224, `vit_tiny_96`, and with patches of 4 pixels `vit_tiny_cifar` for 32 x 32.
 */
import { type Encoder, type FeatureKind, nameWithStem } from "./encoder.ts";
import type { EncoderFamily } from "./encoder_family.ts";
import { nameWithFeature, splitFeature } from "./features.ts";
import { findHead } from "./heads.ts";
import { makeVit } from "./vit.ts";
import { readVitShape, sameVitShape, VIT_SIZES, vitSaid, type VitShape } from "./vit_shape.ts";

/** Shapes, whatever the patch and the positions. */
const SHAPES = { vit_tiny: VIT_SIZES.t, vit_small: VIT_SIZES.s } as const;

type Name = keyof typeof SHAPES;

const NAMES = Object.keys(SHAPES) as Name[];

/** Side of a patch, and of the images where nothing says another, in pixels. */
const STEM = { imagenet: { patch: 16, size: 224 }, cifar: { patch: 4, size: 32 } } as const;
type Stem = keyof typeof STEM;

/** Encoders that were asked for, by name: what is known of an encoder is kept by its object. */
const known = new Map<string, Encoder>();

/** The name of the encoder for images of a size. */
function nameOf(name: Name, size: number, stem: Stem): string {
  return nameWithStem(size === STEM[stem].size ? name : `${name}_${size}`, stem);
}

function shapeOf(name: Name, size: number, stem: Stem): VitShape {
  const { patch } = STEM[stem];
  const plain = { gated: false, registers: 0, bias: true, convolutions: false };
  return { ...SHAPES[name], ...plain, method: "dino", patch, grid: size / patch };
}

/** The encoder for images of `size` x `size`, which the patch divides. */
function student(name: Name, size: number, stem: Stem, feature: FeatureKind = "cls"): Encoder {
  const full = nameWithFeature(nameOf(name, size, stem), feature);
  const encoder = known.get(full) ?? makeStudent(name, size, stem, feature);
  known.set(full, encoder);
  return encoder;
}

function makeStudent(name: Name, size: number, stem: Stem, feature: FeatureKind): Encoder {
  const full = nameWithFeature(nameOf(name, size, stem), feature);
  const withFeature = (other: FeatureKind) => student(name, size, stem, other);
  return {
    ...makeVit(full, shapeOf(name, size, stem), feature, withFeature),
    roles: ["teacher", "student"],
    ssl: "moco",
    head: "mlp",
    sizedFor: (other) => student(name, other, stem, feature),
    stem,
    ...stem === "imagenet" &&
      { cifar: student(name, size === STEM.imagenet.size ? STEM.cifar.size : size, "cifar", feature) },
  };
}

/** What a name says. */
function parse(
  given: string,
): { name: Name; size: number; stem: Stem; feature: FeatureKind } | undefined {
  const { name: text, feature } = splitFeature(given);
  const [, name, digits, suffix] = /^(vit_[a-z]+?)(?:_(\d{1,4}))?(_cifar)?$/.exec(text) ?? [];
  const stem = suffix === undefined ? "imagenet" : "cifar";
  const size = digits === undefined ? STEM[stem].size : Number(digits);
  if (!NAMES.includes(name as Name) || size === 0 || size % STEM[stem].patch !== 0) return undefined;
  return nameOf(name as Name, size, stem) === text ? { name: name as Name, size, stem, feature } : undefined;
}

/**
 * The family. Without a head, and without a word on whose they are, tensors of its shape are taken for DINO's. With one
 * they are DINO's where the file names it: what fine-tunings and linear evaluations of it write has a classifier.
 */
export const VIT_STUDENTS: EncoderFamily = {
  released: NAMES.map((name) => student(name, STEM.imagenet.size, "imagenet")),
  recognize(tensors, clues) {
    const shape = readVitShape(tensors, clues);
    const said = clues.arch === undefined ? undefined : parse(clues.arch);
    if (shape === undefined || (said === undefined && findHead(tensors) === undefined)) return undefined;
    const other = vitSaid(clues);
    if (other !== undefined && sameVitShape(other, shape)) return undefined;
    for (const stem of ["imagenet", "cifar"] as const) {
      const name = NAMES.find((name) => sameVitShape(shape, shapeOf(name, shape.grid * shape.patch, stem)));
      if (name !== undefined) return student(name, shape.grid * shape.patch, stem);
    }
  },
  named(name) {
    const said = parse(name);
    return said && student(said.name, said.size, said.stem, said.feature);
  },
};

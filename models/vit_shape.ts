/** The shape of a vision transformer: read off a checkpoint's tensors, and kept in the encoder's name. */
import type { EncoderClues, Shapes } from "./encoder_family.ts";
import { splitFeature } from "./features.ts";
import { PERIODS_KEY } from "./rotary_embedding.ts";

/** Methods whose vision transformers are read. They differ in what no tensor's shape tells: epsilons, positions. */
export const VIT_METHODS = ["dino", "dinov2", "dinov3", "mocov3"] as const;

/** One of {@linkcode VIT_METHODS}. */
export type VitMethod = typeof VIT_METHODS[number];

/** The shape of a vision transformer. */
export interface VitShape {
  method: VitMethod;
  /** Side of a patch, in pixels. */
  patch: number;
  /** Length of a token. */
  width: number;
  blocks: number;
  heads: number;
  /** Length of the hidden layer of a block's feed-forward part. */
  hidden: number;
  /** Whether that is SwiGLU instead of a layer with GELU. */
  gated: boolean;
  /** Register tokens, which DINOv3 calls storage tokens. */
  registers: number;
  /** Patches along each side of the table of learned or fixed positions; 0 where positions are rotary. */
  grid: number;
  /** Whether queries, keys and values have a bias; of DINOv3's 7B they have none. */
  bias: boolean;
  /** Whether patches are made by MoCo-v3's convolutions instead of one. */
  convolutions: boolean;
}

/** What the released models have but for a few. */
const USUAL = { gated: false, registers: 0, grid: 0, bias: true, convolutions: false };

/** Widths, blocks and heads that the authors call by a letter. */
export const VIT_SIZES = {
  t: { width: 192, blocks: 12, heads: 3, hidden: 768 },
  s: { width: 384, blocks: 12, heads: 6, hidden: 1536 },
  b: { width: 768, blocks: 12, heads: 12, hidden: 3072 },
  l: { width: 1024, blocks: 24, heads: 16, hidden: 4096 },
  g: { width: 1536, blocks: 40, heads: 24, hidden: 4096, gated: true },
};

/** DINOv2's table is for 518 pixels. */
const DINOV2 = { ...USUAL, method: "dinov2", patch: 14, grid: 37 } as const;
const DINOV3 = { ...USUAL, method: "dinov3", patch: 16, registers: 4 } as const;
const DINO = { ...USUAL, method: "dino" } as const;
const MOCOV3 = { ...USUAL, method: "mocov3", patch: 16, grid: 14, heads: 12 } as const;

/** The models that were released, by their authors' names. */
export const RELEASED_VITS: Readonly<Record<string, VitShape>> = {
  dino_vits16: { ...DINO, ...VIT_SIZES.s, patch: 16, grid: 14 },
  dino_vits8: { ...DINO, ...VIT_SIZES.s, patch: 8, grid: 28 },
  dino_vitb16: { ...DINO, ...VIT_SIZES.b, patch: 16, grid: 14 },
  dino_vitb8: { ...DINO, ...VIT_SIZES.b, patch: 8, grid: 28 },
  dinov2_vits14: { ...DINOV2, ...VIT_SIZES.s },
  dinov2_vitb14: { ...DINOV2, ...VIT_SIZES.b },
  dinov2_vitl14: { ...DINOV2, ...VIT_SIZES.l },
  dinov2_vitg14: { ...DINOV2, ...VIT_SIZES.g },
  dinov2_vits14_reg: { ...DINOV2, ...VIT_SIZES.s, registers: 4 },
  dinov2_vitb14_reg: { ...DINOV2, ...VIT_SIZES.b, registers: 4 },
  dinov2_vitl14_reg: { ...DINOV2, ...VIT_SIZES.l, registers: 4 },
  dinov2_vitg14_reg: { ...DINOV2, ...VIT_SIZES.g, registers: 4 },
  dinov3_vits16: { ...DINOV3, ...VIT_SIZES.s },
  dinov3_vits16plus: { ...DINOV3, ...VIT_SIZES.s, gated: true },
  dinov3_vitb16: { ...DINOV3, ...VIT_SIZES.b },
  dinov3_vitl16: { ...DINOV3, ...VIT_SIZES.l },
  dinov3_vith16plus: { ...DINOV3, width: 1280, blocks: 32, heads: 20, hidden: 5120, gated: true },
  dinov3_vit7b16: { ...DINOV3, width: 4096, blocks: 40, heads: 32, hidden: 8192, gated: true, bias: false },
  mocov3_vit_small: { ...VIT_SIZES.s, ...MOCOV3 },
  mocov3_vit_base: { ...VIT_SIZES.b, ...MOCOV3 },
  mocov3_vit_conv_small: { ...VIT_SIZES.s, ...MOCOV3, blocks: 11, convolutions: true },
  mocov3_vit_conv_base: { ...VIT_SIZES.b, ...MOCOV3, blocks: 11, convolutions: true },
};

/** Numbers of a name, by the letter that stands before each. */
const NUMBERS = {
  p: "patch",
  w: "width",
  b: "blocks",
  h: "heads",
  f: "hidden",
  r: "registers",
  g: "grid",
} as const;
const UNRELEASED = new RegExp(
  `^(${VIT_METHODS.join("|")})_vit((?:_[${
    Object.keys(NUMBERS).join("")
  }]\\d{1,6})+)(_gated)?(_nobias)?(_conv)?$`,
);

/** The name of an encoder: the authors' where it was released, else one that says the whole shape. */
export function nameOfVit(shape: VitShape): string {
  const released = Object.entries(RELEASED_VITS).find(([, other]) => describe(other) === describe(shape));
  return released?.[0] ?? describe(shape);
}

/** Whether two shapes are the same. */
export function sameVitShape(one: VitShape, other: VitShape): boolean {
  return describe(one) === describe(other);
}

function describe(shape: VitShape): string {
  const numbers = Object.entries(NUMBERS).map(([letter, name]) => `_${letter}${shape[name]}`).join("");
  const flags = [
    ...shape.gated ? ["_gated"] : [],
    ...shape.bias ? [] : ["_nobias"],
    ...shape.convolutions ? ["_conv"] : [],
  ];
  return `${shape.method}_vit${numbers}${flags.join("")}`;
}

/** The shape that a name stands for; `undefined` where it is of no vision transformer. */
export function vitNamed(name: string): VitShape | undefined {
  if (Object.hasOwn(RELEASED_VITS, name)) return RELEASED_VITS[name];
  const [, method, numbers, gated, noBias, conv] = UNRELEASED.exec(name) ?? [];
  if (method === undefined) return undefined;
  const values = new Map(numbers.slice(1).split("_").map((part) => [part[0], Number(part.slice(1))]));
  const shape = {
    method: method as VitMethod,
    ...Object.fromEntries(Object.entries(NUMBERS).map(([letter, field]) => [field, values.get(letter)])),
    gated: gated !== undefined,
    bias: noBias === undefined,
    convolutions: conv !== undefined,
  } as VitShape;
  return describe(shape) === name && isPossible(shape) ? shape : undefined;
}

/** The shape that a file's own name for its encoder stands for, with whatever feature. */
export function vitSaid({ arch }: EncoderClues): VitShape | undefined {
  return arch === undefined ? undefined : vitNamed(splitFeature(arch).name);
}

/** Numbers that the length of a head has to be a multiple of: `attention` takes four at a time, and rotates pairs of them. */
export function headMultiple(method: VitMethod): number {
  return method === "dinov3" ? 8 : 4;
}

/** Whether tokens can be cut into patches and heads. */
function isPossible({ method, patch, width, blocks, heads }: VitShape): boolean {
  return [patch, width, blocks, heads].every((count) => Number.isSafeInteger(count) && count > 0) &&
    width % (heads * headMultiple(method)) === 0;
}

/** A head's length in all models but MoCo-v3's small one, DINOv3's largest and ViT-H. */
const HEAD_WIDTH = 64;
/** Width from which DINOv3's heads are twice as long, as those of its 7B. */
const WIDE = 4096;
/** Stages of MoCo-v3's convolutions, each of which halves an image. */
const STAGES = 4;
/** Heads of all MoCo-v3's models. */
const MOCOV3_HEADS = 12;
/** Width of ViT-H, as MAE has it, and its heads of 80 numbers each. */
const HUGE = { width: 1280, heads: 16 };

/** Length of a token of what looks like a vision transformer by its names; `undefined` where nothing does. */
export function widthOfVit(tensors: Shapes): number | undefined {
  return tensors.has("blocks.0.attn.qkv.weight") ? patchesOf(tensors)?.shape[0] : undefined;
}

function patchesOf(tensors: Shapes) {
  return tensors.get("patch_embed.proj.weight") ?? tensors.get(CONVOLUTIONS_END);
}

/** Last of MoCo-v3's convolutions. */
const CONVOLUTIONS_END = "patch_embed.proj.12.weight";

/**
 * Reads the shape of a vision transformer off its tensors, which have the names of its release.
 *
 * @returns `undefined` where they are of none, or nothing tells how many heads it has
 */
export function readVitShape(tensors: Shapes, clues: EncoderClues): VitShape | undefined {
  const shapeOf = (key: string) => tensors.get(key)?.shape ?? [];
  const convolutions = tensors.has(CONVOLUTIONS_END);
  const width = widthOfVit(tensors);
  const [, , patch] = patchesOf(tensors)?.shape ?? [];
  if (width === undefined || patch === undefined) return undefined;
  const [, positions = 1] = shapeOf("pos_embed");
  const grid = Math.floor(Math.sqrt(positions - 1));
  const [, registers = 0] = tensors.has("storage_tokens")
    ? shapeOf("storage_tokens")
    : shapeOf("register_tokens");
  const [, packed] = shapeOf("blocks.0.mlp.w3.weight");
  const [plain] = shapeOf("blocks.0.mlp.fc1.weight");
  const method = vitMethodOf(tensors, clues);
  const shape: VitShape = {
    method,
    patch: convolutions ? 2 ** STAGES : patch,
    width,
    blocks: countBlocks(tensors),
    heads: headsOf(tensors, clues, method, width),
    hidden: packed ?? plain ?? 4 * width,
    gated: packed !== undefined,
    registers,
    grid,
    bias: tensors.has("blocks.0.attn.qkv.bias"),
    convolutions,
  };
  const said = vitSaid(clues);
  const isSaid = said !== undefined && describe({ ...said, heads: shape.heads }) === describe(shape);
  if (isSaid && clues.heads === undefined) return said;
  return isPossible(shape) ? shape : undefined;
}

function countBlocks(tensors: Shapes): number {
  let blocks = 0;
  while (tensors.has(`blocks.${blocks}.attn.qkv.weight`)) blocks++;
  return blocks;
}

/** Whose vision transformer some tensors are of, which are of one. */
export function vitMethodOf(tensors: Shapes, clues: EncoderClues): VitMethod {
  if (!tensors.has("pos_embed")) return "dinov3";
  if (tensors.has("blocks.0.ls1.gamma")) return "dinov2";
  const isSaid = vitSaid(clues)?.method === "mocov3";
  return tensors.has(CONVOLUTIONS_END) || clues.fixedPositions || isSaid ? "mocov3" : "dino";
}

function headsOf(tensors: Shapes, { heads }: EncoderClues, method: VitMethod, width: number): number {
  if (heads !== undefined) return heads;
  const [periods] = tensors.get(PERIODS_KEY)?.shape ?? [];
  if (periods !== undefined) return width / (4 * periods);
  if (method !== "dinov3" && width === HUGE.width) return HUGE.heads;
  if (method === "mocov3" && width % MOCOV3_HEADS === 0) return MOCOV3_HEADS;
  const length = method === "dinov3" && width >= WIDE ? 2 * HEAD_WIDTH : HEAD_WIDTH;
  return width / length;
}

/**
 * The layers of a vision transformer (Dosovitskiy et al. 2021): patches as tokens [n, tokens, 1, width], blocks of attention
 * and feed-forward layers with a norm before each, and a last norm.
 */
import type { Tensor } from "../kernels/graph.ts";
import { padRows, unpadRows } from "../kernels/layout.ts";
import { attention } from "../kernels/ops/attention/attention.ts";
import { swiglu } from "../kernels/ops/gated_activation/gated_activation.ts";
import { matmulBatched } from "../kernels/ops/matmul_batched/matmul_batched.ts";
import { prependTokens, sliceTokens } from "../kernels/ops/prepend_tokens/prepend_tokens.ts";
import { reshape } from "../kernels/ops/reshape/reshape.ts";
import type { EncoderBuilder } from "./encoder_builder.ts";
import type { Convolution, Initial } from "./encoder_layers.ts";
import type { FeatureTokens } from "./features.ts";
import {
  DINO_RESIZING,
  type PatchGrid,
  REGISTERS_RESIZING,
  resizePositions,
  sineCosinePositions,
} from "./position_embedding.ts";
import { PERIODS_KEY, ropePeriods, ropeTables } from "./rotary_embedding.ts";
import type { VitMethod, VitShape } from "./vit_shape.ts";

/** What the methods' code does differently, which no tensor tells. */
interface VitCode {
  /** Added to the variance by every norm. */
  epsilon: number;
  /** Initial value of LayerScale; absent where blocks have none. */
  layerScale?: number;
  /** Whether the biases of keys are zero, whatever a file has there. */
  keysHaveNoBias?: boolean;
}

const CODE: Readonly<Record<VitMethod, VitCode>> = {
  dino: { epsilon: 1e-6 },
  dinov2: { epsilon: 1e-6, layerScale: 1e-5 },
  dinov3: { epsilon: 1e-5, layerScale: 1e-5, keysHaveNoBias: true },
  mocov3: { epsilon: 1e-6 },
};

/** Initial values of tokens, tables and linear layers, as in the originals. */
const INITIAL: Initial = { draw: "truncated_normal", deviation: 0.02 };

/** Traces everything but a head: images [n, h, w, 3] -> the tokens after the last norm; patches are [n, tokens, 1, width]. */
export function traceVit(b: EncoderBuilder, images: Tensor, shape: VitShape): FeatureTokens {
  const { width, blocks, patch } = shape;
  const grid = [images.shape[1] / patch, images.shape[2] / patch] as const;
  const prepend = declareTokens(b, shape, grid);
  let x = prepend(shape.convolutions ? convolutionalPatches(b, images, width) : patches(b, images, shape));
  const rotation = shape.grid === 0 ? rotate(b, shape, grid) : [];
  for (let i = 0; i < blocks; i++) {
    // DeiT's rule: torch.linspace(0, rate, blocks).
    const rate = blocks === 1 ? 0 : b.dropPath * i / (blocks - 1);
    x = block(b, `blocks.${i}`, x, shape, rotation, rate);
  }
  const norm = b.layerNorm("norm", width, CODE[shape.method].epsilon);
  // Each token is normalised by itself, and only those that are needed.
  const tokens = (first: number, count: number) =>
    b.normalize(b.graph.apply(sliceTokens, [x], { first, count }), norm);
  const ofPatches = () => tokens(1 + shape.registers, grid[0] * grid[1]);
  return {
    cls: () => tokens(0, 1),
    patches: ofPatches,
    map: () => b.graph.apply(reshape, [ofPatches()], { shape: [x.shape[0], ...grid, width] }),
  };
}

/** Initial values of the table of positions: MoCo-v3's is fixed in its pretraining, and the others' are learned. */
function initialPositions({ method, width, grid }: VitShape): Initial {
  return method === "mocov3"
    ? { draw: "given", values: [...sineCosinePositions(width, [grid, grid])] }
    : INITIAL;
}

/** Declares the class token, registers, and positions; returns what puts them to patches [n, rows, columns, width]. */
function declareTokens(b: EncoderBuilder, shape: VitShape, grid: PatchGrid): (patches: Tensor) => Tensor {
  const { method, width, registers, grid: table } = shape;
  const first = 1 + registers; // tokens before the patches
  const registersKey = method === "dinov3" ? "storage_tokens" : "register_tokens";
  b.value("cls_token", [1, 1, width], INITIAL);
  if (table > 0) b.value("pos_embed", [1, 1 + table ** 2, width], initialPositions(shape));
  if (registers > 0) b.value(registersKey, [1, registers, width], INITIAL);
  if (b.mode === "train") return trainedTokens(b, shape, grid, registersKey);
  const tokens = b.made("tokens", [first, width], {
    keys: ["cls_token", ...registers > 0 ? [registersKey] : []],
    toDevice: (parts) => stack(parts, width),
  });
  if (table === 0) return (patches) => b.graph.apply(prependTokens, [patches, tokens], {});
  const positions = b.made("positions", [first + grid[0] * grid[1], width], {
    keys: ["pos_embed"],
    bySize: true,
    toDevice: ([values]) => resizedFor(values, width, registers, grid),
  });
  return (patches) => b.graph.apply(prependTokens, [patches, tokens, positions], {});
}

/** The same where they are trained: each entry is a tensor of its own, and another size's positions are a product with the table. */
function trainedTokens(
  b: EncoderBuilder,
  { width, registers, grid: table }: VitShape,
  grid: PatchGrid,
  registersKey: string,
): (patches: Tensor) => Tensor {
  const rows = (key: string, count: number) =>
    b.made(key, [count, width], {
      keys: [key],
      toDevice: ([values]) => padRows(values, [count, width]),
      fromDevice: (device) => unpadRows(device, [count, width]),
    });
  const before = registers === 0 ? [] : [rows(registersKey, registers)];
  const classToken = rows("cls_token", 1);
  const positions = table === 0
    ? []
    : [positionsOf(b, rows("pos_embed", 1 + table ** 2), registers, table, grid)];
  return (patches) => {
    const tokens = before.reduce((x, more) => b.graph.apply(prependTokens, [x, more], {}), patches);
    return b.graph.apply(prependTokens, [tokens, classToken, ...positions], {});
  };
}

/** Positions of class token, registers and patches, of a trained table [1 + side * side, width]. */
function positionsOf(
  b: EncoderBuilder,
  table: Tensor,
  registers: number,
  side: number,
  grid: PatchGrid,
): Tensor {
  if (registers === 0 && grid.every((count) => count === side)) return table;
  const [count] = table.shape;
  const shape = [1 + registers + grid[0] * grid[1], count];
  const resize = b.made(`positions for ${grid.join(" x ")} patches`, shape, {
    keys: [],
    toDevice: () => {
      const identity = Float32Array.from({ length: count * count }, (_, i) => i % (count + 1) === 0 ? 1 : 0);
      return resizedFor(identity, count, registers, grid);
    },
  });
  return b.graph.apply(matmulBatched, [resize, table], {});
}

/** Positions of class token, registers, which have none, and patches, of a table of rows of `width` numbers. */
function resizedFor(
  table: ArrayLike<number>,
  width: number,
  registers: number,
  grid: PatchGrid,
): Float32Array<ArrayBuffer> {
  const resized = resizePositions(table, width, grid, registers > 0 ? REGISTERS_RESIZING : DINO_RESIZING);
  const none = new Float64Array(registers * width);
  return stack([resized.subarray(0, width), none, resized.subarray(width)], width);
}

/** Tables of `width` numbers a row, below each other, in the device's layout. */
function stack(parts: readonly (Float32Array | Float64Array)[], width: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    values.set(part, at);
    at += part.length;
  }
  return padRows(values, [values.length / width, width]);
}

/** Cosines and sines of DINOv3's rotary positions [tokens, head width]: constants of an image's size. */
function rotate(b: EncoderBuilder, { width, heads, registers }: VitShape, grid: PatchGrid): Tensor[] {
  const length = width / heads;
  const first = 1 + registers;
  const shape = [first + grid[0] * grid[1], length];
  b.buffer(PERIODS_KEY, ropePeriods(length));
  return (["cos", "sin"] as const).map((part) =>
    b.made(`rotary ${part}`, shape, {
      keys: [PERIODS_KEY],
      isConstant: true,
      bySize: true,
      toDevice: ([periods]) => padRows(ropeTables(length, grid, first, periods)[part], shape),
    })
  );
}

/** Patches as one convolution makes them: [n, h, w, 3] -> [n, h / patch, w / patch, width]. */
function patches(b: EncoderBuilder, images: Tensor, { patch, width }: VitShape): Tensor {
  const initial: Initial = { draw: "uniform", bound: 1 / Math.sqrt(3 * patch ** 2) }; // nn.Conv2d's own, as in the originals
  const options = { inputs: 3, outputs: width, kernel: patch, stride: patch, bias: true, initial };
  return b.convolve(images, b.convolution("patch_embed.proj", options));
}

/** Widths of MoCo-v3's convolutions are that of a token divided by these; each halves an image. */
const DIVISORS = [8, 4, 2, 1];

/** Patches of 16 pixels as MoCo-v3's convolutions make them (Xiao et al. 2021). */
function convolutionalPatches(b: EncoderBuilder, images: Tensor, width: number): Tensor {
  let x = images;
  for (const [i, divisor] of DIVISORS.entries()) {
    const [inputs, outputs] = [x.shape[3], width / divisor];
    const key = `patch_embed.proj.${3 * i}`;
    const convolution = b.convolution(key, { inputs, outputs, kernel: 3, stride: 2, padding: 1 });
    const norm = b.batchNorm(`patch_embed.proj.${3 * i + 1}`, outputs);
    x = b.convolveAndNormalize(x, convolution, norm, { activation: "relu" });
  }
  const last = `patch_embed.proj.${3 * DIVISORS.length}`;
  return b.convolve(x, b.convolution(last, { inputs: width, outputs: width, kernel: 1, bias: true }));
}

/**
 * y = x + ls1(attention(norm1(x))), then y + ls2(feedForward(norm2(y))).
 *
 * @param rate of stochastic depth: share of the images whose branches are dropped in training
 */
function block(
  b: EncoderBuilder,
  key: string,
  x: Tensor,
  shape: VitShape,
  rotation: readonly Tensor[],
  rate: number,
): Tensor {
  const { width, heads, bias, method } = shape;
  const { epsilon, keysHaveNoBias } = CODE[method];
  const norm1 = b.layerNorm(`${key}.norm1`, width, epsilon);
  const qkv = b.linear(`${key}.attn.qkv`, width, 3 * width, INITIAL, {
    bias,
    zeroBias: keysHaveNoBias ? { first: width, count: width } : undefined,
  });
  const projection = b.linear(`${key}.attn.proj`, width, width, INITIAL);
  const attributes = { heads, rope: rotation.length > 0 };
  const attended = b.graph.apply(
    attention,
    [b.convolve(b.normalize(x, norm1), qkv), ...rotation],
    attributes,
  );
  const y = addBranch(b, attended, projection, `${key}.ls1.gamma`, shape, x, rate);
  const norm2 = b.layerNorm(`${key}.norm2`, width, epsilon);
  const { hidden, last } = feedForward(b, `${key}.mlp`, b.normalize(y, norm2), shape);
  return addBranch(b, hidden, last, `${key}.ls2.gamma`, shape, y, rate);
}

/** The hidden layer, and the linear layer that follows it. */
function feedForward(b: EncoderBuilder, key: string, x: Tensor, { method, width, hidden, gated }: VitShape) {
  if (!gated) {
    const fc1 = b.linear(`${key}.fc1`, width, hidden, INITIAL);
    const y = b.convolve(x, fc1, { activation: "gelu" });
    return { hidden: y, last: b.linear(`${key}.fc2`, hidden, width, INITIAL) };
  }
  // DINOv2 has gate and value in one matrix, DINOv3 in two.
  const names = method === "dinov3" ? ["w1", "w2"] : ["w12"];
  const layers = names.map((name) => b.linear(`${key}.${name}`, width, 2 * hidden / names.length, INITIAL));
  return {
    hidden: b.graph.apply(swiglu, layers.map((layer) => b.convolve(x, layer)), {}),
    last: b.linear(`${key}.w3`, hidden, width, INITIAL),
  };
}

/** residual + ls(layer(x)), with LayerScale `ls` where the method has one. */
function addBranch(
  b: EncoderBuilder,
  x: Tensor,
  layer: Convolution,
  key: string,
  { method, width }: VitShape,
  residual: Tensor,
  rate: number,
): Tensor {
  const { layerScale } = CODE[method];
  const scale = layerScale === undefined ? undefined : b.layerScale(key, width, layerScale);
  return b.convolveAndAdd(x, layer, residual, { scale, rate });
}

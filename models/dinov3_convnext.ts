/** DINOv3's ConvNeXts (Liu et al. 2022; Simeoni et al. 2025), under the names that their authors released them with. */
import type { Tensor } from "../kernels/graph.ts";
import { globalAveragePool } from "../kernels/ops/global_average_pool/global_average_pool.ts";
import type { Encoder, FeatureKind } from "./encoder.ts";
import type { EncoderBuilder } from "./encoder_builder.ts";
import type { Initial } from "./encoder_layers.ts";
import type { EncoderFamily, Shapes } from "./encoder_family.ts";
import {
  featureLength,
  type FeatureTokens,
  givesFeature,
  nameWithFeature,
  splitFeature,
  traceFeature,
} from "./features.ts";
import { projectionHead } from "./heads.ts";

/** Blocks and channels of each of the four stages. */
interface ConvNextShape {
  depths: readonly number[];
  widths: readonly number[];
}

/** The models that were released. */
const RELEASED: Readonly<Record<string, ConvNextShape>> = {
  dinov3_convnext_tiny: { depths: [3, 3, 9, 3], widths: [96, 192, 384, 768] },
  dinov3_convnext_small: { depths: [3, 3, 27, 3], widths: [96, 192, 384, 768] },
  dinov3_convnext_base: { depths: [3, 3, 27, 3], widths: [128, 256, 512, 1024] },
  dinov3_convnext_large: { depths: [3, 3, 27, 3], widths: [192, 384, 768, 1536] },
};

const STAGES = 4;
const EPSILON = 1e-6;
/** The authors' initial values: of LayerScale, and of the other layers. */
const LAYER_SCALE = 1e-6;
const INITIAL: Initial = { draw: "truncated_normal", deviation: 0.02 };

/** Name of an encoder that was not released: `dinov3_convnext_d1-1-2-1_w16-32-48-64`. */
const UNRELEASED = /^dinov3_convnext_d(\d+(?:-\d+)*)_w(\d+(?:-\d+)*)$/;

function describe({ depths, widths }: ConvNextShape): string {
  return `dinov3_convnext_d${depths.join("-")}_w${widths.join("-")}`;
}

function nameOf(shape: ConvNextShape): string {
  const released = Object.entries(RELEASED).find(([, other]) => describe(other) === describe(shape));
  return released?.[0] ?? describe(shape);
}

function shapeNamed(name: string): ConvNextShape | undefined {
  if (Object.hasOwn(RELEASED, name)) return RELEASED[name];
  const [, depths, widths] = UNRELEASED.exec(name) ?? [];
  if (depths === undefined) return undefined;
  const shape = { depths: depths.split("-").map(Number), widths: widths.split("-").map(Number) };
  const isShape = Object.values(shape).every((numbers) =>
    numbers.length === STAGES && numbers.every((number) => number > 0 && number < 1e6)
  );
  return isShape && describe(shape) === name ? shape : undefined;
}

/** Reads the shape off tensors; `undefined` where they are of no ConvNeXt. */
function readShape(tensors: Shapes): ConvNextShape | undefined {
  const stages = Array.from({ length: STAGES }, (_, stage) => {
    let depth = 0;
    while (tensors.has(`stages.${stage}.${depth}.dwconv.weight`)) depth++;
    return { depth, width: tensors.get(`stages.${stage}.0.dwconv.weight`)?.shape[0] ?? 0 };
  });
  if (stages.some(({ depth, width }) => depth === 0 || width === 0)) return undefined;
  return { depths: stages.map(({ depth }) => depth), widths: stages.map(({ width }) => width) };
}

/**
 * Traces everything but a head: images [n, h, w, 3] -> what the authors call tokens. The class token is the norm of the mean over
 * pixels [n, 1, 1, width], and the patches are the norms of the pixels.
 */
function trace(b: EncoderBuilder, images: Tensor, { depths, widths }: ConvNextShape): FeatureTokens {
  const downsamplings = widths.map((width, stage) =>
    stage === 0 ? stem(b, width) : downsampling(b, `downsample_layers.${stage}`, widths[stage - 1], width)
  );
  let x = images;
  for (const [stage, depth] of depths.entries()) {
    x = downsamplings[stage](x);
    for (let i = 0; i < depth; i++) x = block(b, `stages.${stage}.${i}`, x);
  }
  const norm = b.layerNorm("norm", widths.at(-1)!, EPSILON);
  return {
    cls: () => b.normalize(b.graph.apply(globalAveragePool, [x], {}), norm),
    patches: () => b.normalize(x, norm),
    map: () => b.normalize(x, norm),
  };
}

/** A 4x4 convolution with stride 4, and a norm behind it. */
function stem(b: EncoderBuilder, outputs: number): (x: Tensor) => Tensor {
  const options = { inputs: 3, outputs, kernel: 4, stride: 4, bias: true, initial: INITIAL };
  const convolution = b.convolution("downsample_layers.0.0", options);
  const norm = b.layerNorm("downsample_layers.0.1", outputs, EPSILON);
  return (x) => b.normalize(b.convolve(x, convolution), norm);
}

/** A norm, and a 2x2 convolution with stride 2 behind it. */
function downsampling(
  b: EncoderBuilder,
  key: string,
  inputs: number,
  outputs: number,
): (x: Tensor) => Tensor {
  const norm = b.layerNorm(`${key}.0`, inputs, EPSILON);
  const options = { inputs, outputs, kernel: 2, stride: 2, bias: true, initial: INITIAL };
  const convolution = b.convolution(`${key}.1`, options);
  return (x) => b.convolve(b.normalize(x, norm), convolution);
}

/** x + gamma * (a depthwise convolution, norm, and two linear layers with GELU between them). */
function block(b: EncoderBuilder, key: string, x: Tensor): Tensor {
  const channels = x.shape[3];
  const scale = b.layerScale(`${key}.gamma`, channels, LAYER_SCALE);
  const depthwise = b.convolution(`${key}.dwconv`, {
    inputs: channels,
    outputs: channels,
    kernel: 7,
    padding: 3,
    bias: true,
    depthwise: true,
    initial: INITIAL,
  });
  const norm = b.layerNorm(`${key}.norm`, channels, EPSILON);
  const widen = b.linear(`${key}.pwconv1`, channels, 4 * channels, INITIAL);
  const narrow = b.linear(`${key}.pwconv2`, 4 * channels, channels, INITIAL);
  const y = b.convolve(b.normalize(b.convolve(x, depthwise), norm), widen, { activation: "gelu" });
  return b.convolveAndAdd(y, narrow, x, { scale });
}

/** Heads of training. */
const IGNORED = /^(mask_token$|(dino_head|ibot_head|head)\.)/;

/** Encoders that were asked for, by name. */
const known = new Map<string, Encoder>();

function convNext(shape: ConvNextShape, feature: FeatureKind = "cls"): Encoder {
  const name = nameWithFeature(nameOf(shape), feature);
  const features = featureLength(shape.widths.at(-1)!, feature);
  const encoder = known.get(name) ?? {
    name,
    family: "ConvNeXt of DINOv3",
    roles: ["teacher"],
    ssl: "dinov3",
    head: "none",
    features,
    feature,
    withFeature: (other) => convNext(shape, other),
    optimizer: "adamw", // as in DINOv3's and ConvNeXt's own trainings
    // Four pixels to one, and three times two to one, as the authors' images are; others would lose their edges.
    sizes: { usual: 256, multiple: 32 },
    // The last norm under its other name.
    unused: ["weight", "bias"].map((name) => ({
      key: `norms.${STAGES - 1}.${name}`,
      shape: [shape.widths.at(-1)!],
      otherwise: `norm.${name}`,
    })),
    ignores: IGNORED,
    trace(b, images, head) {
      const tokens = trace(b, images, shape);
      const pooled = traceFeature(b, feature, tokens);
      return { feature: pooled, map: tokens.map, embedding: projectionHead(b, "fc", features, head)(pooled) };
    },
  };
  known.set(name, encoder);
  return encoder;
}

/** The family: of any depths and widths. */
export const DINOV3_CONVNEXT: EncoderFamily = {
  released: Object.values(RELEASED).map((shape) => convNext(shape)),
  recognize(tensors) {
    const shape = readShape(tensors);
    return shape && convNext(shape);
  },
  named(name) {
    const { name: plain, feature } = splitFeature(name);
    const shape = shapeNamed(plain);
    if (shape === undefined || !givesFeature(shape.widths.at(-1)!, feature)) return undefined;
    return convNext(shape, feature);
  },
};

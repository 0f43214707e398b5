/**
 * The encoders that flags can name. To add one: its file, and a line in {@linkcode ENCODERS}; from outside,
 * {@linkcode registerEncoder}. Of {@linkcode FAMILIES} there are more than are listed.
 */
import { elementCount, Graph } from "../kernels/graph.ts";
import { conv2d } from "../kernels/ops/conv2d/conv2d.ts";
import { depthwiseConv2d } from "../kernels/ops/depthwise_conv2d/depthwise_conv2d.ts";
import { DINOV3_CONVNEXT } from "./dinov3_convnext.ts";
import { efficientNet } from "./efficientnet.ts";
import {
  type Encoder,
  type EncoderRole,
  type FeatureKind,
  nameWithStem,
  requireSize,
  sampleSize,
  type Stem,
  STEMS,
  traceEncoder,
} from "./encoder.ts";
import type { EncoderFamily } from "./encoder_family.ts";
import { EncoderBuilder } from "./encoder_builder.ts";
import type { StateEntry } from "./encoder_layers.ts";
import { checkEncoder } from "./check_encoder.ts";
import { chooseFeature } from "./features.ts";
import type { HeadOptions } from "./heads.ts";
import { mobileNetV3 } from "./mobilenet_v3.ts";
import { mocoWideResNet50, resnet } from "./resnet.ts";
import { simclrResNet50 } from "./simclr_resnet.ts";
import { swavResNet50 } from "./swav_resnet.ts";
import { VIT } from "./vit.ts";
import { VIT_STUDENTS } from "./vit_student.ts";
import { UserError } from "../errors.ts";

const encoders: Encoder[] = [
  resnet(18),
  resnet(34),
  resnet(50),
  resnet(101),
  resnet(152),
  mobileNetV3("large"),
  mobileNetV3("small"),
  efficientNet(0),
  efficientNet(1),
  efficientNet(2),
  efficientNet(3),
  efficientNet(4),
  efficientNet(5),
  efficientNet(6),
  efficientNet(7),
  mocoWideResNet50(2),
  mocoWideResNet50(4),
  simclrResNet50(),
  swavResNet50(1),
  swavResNet50(2),
  swavResNet50(4),
  swavResNet50(5),
];

/** Every encoder, those that were registered among them, with its usual stem. */
export const ENCODERS: readonly Encoder[] = encoders;

/** Families whose encoders are read off a checkpoint. */
export const FAMILIES: readonly EncoderFamily[] = [VIT_STUDENTS, VIT, DINOV3_CONVNEXT];

/** Every encoder that tables list: {@linkcode ENCODERS}, and those of {@linkcode FAMILIES} that their authors released. */
export function listedEncoders(): Encoder[] {
  return [...ENCODERS, ...FAMILIES.flatMap(({ released }) => released)];
}

/** Every encoder with each of its stems: each of {@linkcode ENCODERS}, and behind it those of {@linkcode stemsOf}. */
export function encodersOfAllStems(): Encoder[] {
  return ENCODERS.flatMap(withStems);
}

/** An encoder of the usual stem, and those that it is with the others that it has, by stem. */
export function stemsOf(encoder: Encoder): Map<Stem, Encoder> {
  const { cifar, cifarPad2 } = encoder;
  const stems: readonly [Stem, Encoder | undefined][] = [
    ["imagenet", encoder],
    ["cifar", cifar],
    ["cifar_pad2", cifarPad2],
  ];
  return new Map(stems.flatMap(([stem, one]) => one === undefined ? [] : [[stem, one]]));
}

function withStems(encoder: Encoder): Encoder[] {
  return [...stemsOf(encoder).values()];
}

/** Names that an encoder is chosen by. */
export function encoderNames(): string[] {
  return listedEncoders().flatMap(withStems).map(({ name }) => name);
}

/**
 * Registers an encoder that can be used by name as a student or a teacher. Workers load their own modules, so pass
 * the URL of the calling module to a run as one of its `plugins`.
 *
 * @throws {Error} if it lacks a field, or one has a value that no encoder has; if its name is taken, or that of what it is with
 * another stem; or if that does not say that stem, or is not called so, see {@linkcode nameWithStem}
 */
export function registerEncoder(encoder: Encoder): void {
  const taken = encoderNames();
  for (const [stem, one] of stemsOf(encoder)) {
    checkEncoder(one);
    if (taken.includes(one.name)) throw new Error(`there is already an encoder "${one.name}"`);
    if (one === encoder) continue;
    if (stemNameOf(one) !== stem) {
      throw new Error(`expected stem "${stem}" of the encoder "${one.name}", found "${stemNameOf(one)}"`);
    }
    const name = nameWithStem(encoder.name, stem);
    if (one.name !== name) {
      throw new Error(
        `expected the encoder that "${encoder.name}" is with the stem "${stem}" to be called "${name}", found "${one.name}"`,
      );
    }
  }
  encoders.push(encoder);
}

/** The head that an encoder usually has, with embeddings of `dimension` numbers; of the feature's length where it has none. */
export function usualHead(encoder: Encoder, dimension = 128): HeadOptions {
  return { kind: encoder.head, dimension: encoder.head === "none" ? encoder.features : dimension };
}

/**
 * Encoders that a name may mean: the one that is called so, and those that the original calls so beside
 * `--teacher-ssl`, e.g. `resnet50` or `resnet50w2` for `swav_resnet50` or `swav_resnet50w2`; behind each those of the other
 * stems.
 */
export function encodersNamed(name: string): Encoder[] {
  const listed = encodersOfAllStems().filter((encoder) =>
    STEMS.map((stem) => nameWithStem(name, stem)).some((one) =>
      encoder.name === one || encoder.name === `${encoder.ssl}_${one}`
    )
  );
  return [
    ...listed,
    ...FAMILIES.map((family) => family.named(name)).filter((encoder) => encoder !== undefined),
  ];
}

/**
 * Whether a name is of an encoder of {@linkcode FAMILIES}, which may not be listed: `dinov2_vits14_mean`, `vit_tiny_96`.
 *
 * @param role that it has to have
 */
export function isFamilyEncoder(name: string, role?: EncoderRole): boolean {
  const encoder = FAMILIES.map((family) => family.named(name)).find((found) => found !== undefined);
  return encoder !== undefined && (role === undefined || encoder.roles.includes(role));
}

/** An encoder that is decided on, as `isAsked` of `openEncoderSource` takes it: a file has no say in its heads and its feature. */
export function chosenEncoder(name: string): { arch: string } & Pick<Encoder, "heads" | "feature"> {
  const { heads, feature } = findEncoder(name);
  return { arch: name, heads, feature };
}

/** Names that a student's encoder is chosen by. */
export function studentNames(): string[] {
  return listedEncoders().flatMap(withStems).filter(({ roles }) => roles.includes("student"))
    .map(({ name }) => name);
}

/** Names that a teacher's encoder is chosen by: the registry's, then the original's, see {@linkcode encodersNamed}. */
export function teacherNames(): string[] {
  const teachers = encodersOfAllStems().filter(({ roles }) => roles.includes("teacher"));
  const short = teachers.map(({ name, ssl }) => name.replace(`${ssl}_`, ""));
  const released = FAMILIES.flatMap((family) => family.released).flatMap(withStems);
  return [...new Set([...teachers.map(({ name }) => name), ...short, ...released.map(({ name }) => name)])];
}

/** Returns the size that an encoder's name says, in pixels: 96 of `vit_tiny_96`. */
function sizeSaid({ name, sizes, sizedFor }: Encoder): number | undefined {
  return sizedFor !== undefined && name.split("_").includes(String(sizes?.usual)) ? sizes!.usual : undefined;
}

/**
 * Returns the size of images that is asked for, in pixels: that of the flag, or else the one that the encoder's name says.
 *
 * @param name of an encoder that is to begin with fresh weights; see {@linkcode freshEncoder}
 * @throws {UserError} as {@linkcode findEncoder}
 */
export function askedSize(name: string, imageSize: number | undefined): number | undefined {
  return imageSize ?? sizeSaid(findEncoder(name));
}

/**
 * Returns the encoder of a name that is to begin with fresh weights: with the first layers that are asked for, and made for images
 * of a size where it is made for one.
 *
 * @param imageSize height and width of a view, in pixels
 * @throws {UserError} as {@linkcode findEncoder}, and where the encoder does not take images of that size, or its name says another
 */
export function freshEncoder(name: string, stem: Stem | undefined, imageSize: number): Encoder {
  const encoder = findEncoder(name, stem);
  const said = sizeSaid(encoder);
  if (said !== undefined && said !== imageSize) {
    throw new UserError(
      `${name} is made for images of ${said} x ${said} pixels, found ${imageSize} x ${imageSize} (--image-size); use ` +
        `--image-size ${said}, or name it ${
          name.replace(`_${said}`, "")
        }, which is made for the size that is given`,
    );
  }
  requireSize(encoder, imageSize, imageSize, "--image-size");
  return encoder.sizedFor?.(imageSize) ?? encoder;
}

/** An encoder that is chosen by its name, and begins with fresh weights. */
export interface FreshChoice {
  arch: string;
  stem?: Stem;
  feature?: FeatureKind;
  /** As flags choose them in a checkpoint, which there is none of. */
  heads?: number;
  weights?: string;
}

/**
 * Returns an encoder that begins with fresh weights, see {@linkcode freshEncoder}, with the feature that is asked for.
 *
 * @throws {UserError} as that, and for what only a checkpoint's encoder could have
 */
export function chooseFresh(
  { arch, stem, feature, heads, weights }: FreshChoice,
  imageSize: number,
): Encoder {
  const encoder = freshEncoder(arch, stem, imageSize);
  if (weights !== undefined) {
    throw new UserError(
      `--weights ${weights} selects an encoder in a checkpoint, but ${arch} has random weights; leave it out, or give ` +
        "--pretrained",
    );
  }
  if (heads !== undefined) requireHeads(encoder, heads);
  return chooseFeature(encoder, feature);
}

/**
 * Fails where an encoder has other attention heads than those that are asked for, or none.
 *
 * @throws {UserError}
 */
export function requireHeads({ name, heads }: Pick<Encoder, "name" | "heads">, asked: number): void {
  if (heads === asked) return;
  throw new UserError(
    `--heads ${asked} contradicts ${name}, which has ${heads ?? "no attention heads"}; leave it out`,
  );
}

/**
 * Returns the encoder of a name, with the first layers that are asked for.
 *
 * @param stem without it the one that is called so: `resnet18_cifar` is `resnet18` with the stem `cifar`
 * @throws {UserError} that lists the known ones, or says which have that stem
 */
export function findEncoder(name: string, stem?: Stem): Encoder {
  const encoder = encodersOfAllStems().find((candidate) => candidate.name === name) ??
    FAMILIES.map((family) => family.named(name)).find((found) => found !== undefined);
  if (encoder === undefined) {
    throw new UserError(
      `there is no encoder "${name}"; known are ${
        listedEncoders().map((candidate) => candidate.name).join(", ")
      }`,
    );
  }
  const own = stemNameOf(encoder);
  if (stem === undefined || own === stem) return encoder;
  if (own !== "imagenet") {
    throw new UserError(
      `--stem ${stem} contradicts ${name}, whose stem is ${own}: name the encoder without _${own}`,
    );
  }
  const other = stemsOf(encoder).get(stem);
  if (other !== undefined) return other;
  const known = listedEncoders().filter((candidate) => stemsOf(candidate).has(stem)).map((candidate) =>
    candidate.name
  );
  throw new UserError(`${name} has no --stem ${stem}; these have: ${known.join(", ")}`);
}

/** Returns which of its stems an encoder has. */
export function stemNameOf({ stem = "imagenet" }: Pick<Encoder, "stem">): Stem {
  return stem;
}

/** What a table of encoders shows. */
export interface EncoderSummary {
  /** Trained numbers, the head included. */
  parameters: number;
  /** Multiply-accumulates of convolutions and linear layers for one image. */
  multiplyAccumulates: number;
  /** The state_dict, in PyTorch's order. */
  state: readonly StateEntry[];
}

/** Counts an encoder with a head, for one image of `imageSize` x `imageSize`, by default of its usual size. Nothing is run. */
export function summarize(
  encoder: Encoder,
  head: HeadOptions,
  imageSize = sampleSize(encoder, 224),
): EncoderSummary {
  const graph = new Graph();
  const builder = new EncoderBuilder(graph, "train");
  traceEncoder(encoder, builder, graph.source("images", [1, imageSize, imageSize, 3]), head);
  let multiplyAccumulates = 0;
  for (const node of graph.nodes) {
    if (node.op !== conv2d && node.op !== depthwiseConv2d) continue;
    const [x, weight] = node.inputs;
    const [kh, kw] = weight.shape;
    const filterDepth = node.op === depthwiseConv2d ? 1 : x.shape[3];
    multiplyAccumulates += elementCount(node.outputs[0].shape) * kh * kw * filterDepth;
  }
  const parameters = builder.state.filter((entry) => entry.kind === "parameter")
    .reduce((total, entry) => total + elementCount(entry.shape), 0);
  return { parameters, multiplyAccumulates, state: builder.state };
}

/** The images that an encoder takes: what its checkpoint says of them, what was asked for, and what is taken. */
import { Graph, type Node } from "../kernels/graph.ts";
import { conv2d } from "../kernels/ops/conv2d/conv2d.ts";
import { depthwiseConv2d } from "../kernels/ops/depthwise_conv2d/depthwise_conv2d.ts";
import type { ResizeFilter } from "../kernels/image/resize_table.ts";
import { maxPool } from "../kernels/ops/max_pool/max_pool.ts";
import { CROP_RATIOS, type SavedInput } from "./checkpoint/saved_input.ts";
import type { Framework } from "./checkpoint/state_dict.ts";
import { EncoderBuilder } from "./encoder_builder.ts";
import { UserError } from "../errors.ts";
import {
  describeImageSize,
  type Encoder,
  type FeatureKind,
  type ImageSizes,
  sampleSize,
  type Stem,
  traceEncoder,
} from "./encoder.ts";
import { IMAGENET_NORMALIZATION, traceImages } from "./images.ts";
import { usualHead } from "./registry.ts";

/** Image size of all the papers whose checkpoints are read: MoCo, SimCLR, SWAV, SEED; torchvision's models too. */
export const PAPER_IMAGE_SIZE = 224;

/** Image size of encoders whose first layers are for CIFAR's images, where nothing says another. */
const CIFAR_IMAGE_SIZE = 32;

/** Where a checkpoint's word on its images comes from. */
export interface InputSource {
  readonly path: string;
  readonly framework: Framework;
  /** What stands before its keys. */
  readonly prefix: string;
  /** Prefixes of other encoders that `--weights` chooses; `undefined` where the names of a framework leave no choice. */
  readonly others?: readonly string[];
  /** The stem that its encoder has since its program gives it that one; `undefined` where something else told it. */
  readonly likelyStem?: Stem;
  /** Which of its stems its encoder has. */
  readonly stem?: Stem;
  /** What `input` has of its program and not of the file, see {@linkcode StateDict.likelyInput}. */
  readonly likelyInput?: SavedInput;
  /** Sizes of images that its encoder takes; any where it is left out. */
  readonly sizes?: ImageSizes;
  /** Height and width of the smallest that it takes, in pixels; absent where none is too small. */
  readonly smallest?: number;
  /** Whose usual size that is, for messages; of the framework where it is left out. */
  readonly sizesAreOf?: string;
  /** Filter by which its authors resize images in evaluations; bilinear where it is left out. */
  readonly interpolation?: ResizeFilter;
  /** Whether this project wrote it. */
  readonly isOurs: boolean;
  /** What it says; `undefined` where it says nothing. */
  readonly input: SavedInput | undefined;
  /** The feature that is taken of its encoder; absent of one that has no choice. */
  readonly feature?: FeatureKind;
  /** Whether that is what the run that wrote it took, in a file of before such a word. */
  readonly inputIsOfRun?: boolean;
}

/** What is asked for instead of what a checkpoint says. */
export interface AskedInput {
  /** Height and width of a view, in pixels. */
  imageSize?: number;
  /** `auto` for what the images decide. */
  cropRatio?: number | "auto";
  /** Filter by which an evaluation resizes images. */
  interpolation?: ResizeFilter;
}

/** What is taken. */
export interface ChosenInput {
  /** Height and width of a view, in pixels. */
  imageSize: number;
  /** `undefined` where the images are to decide. */
  cropRatio: number | undefined;
  /** Filter by which an evaluation resizes images. */
  interpolation: ResizeFilter;
  /** Where that is from, in a sentence without a full stop; `undefined` where there is nothing to say. */
  note: string | undefined;
}

const AUTHORS: Readonly<Record<Framework, string>> = {
  moco: "the size that MoCo was trained with",
  simclr: "the size that SimCLR was trained with",
  mocov3: "the size that MoCo-v3 was trained with",
  swav: "the size that SWAV was trained with",
  seed: "the size that SEED was trained with",
  torchvision: "torchvision's usual size",
};

/**
 * Decides which images an encoder takes: those that are asked for; else what its checkpoint says; else the size of its authors.
 * With a stem for CIFAR that is 32 pixels, uncropped.
 *
 * @param source the checkpoint; `null` for fresh weights
 * @param usual size where nobody says one, and where that is from; that of the authors where it is left out
 */
export function chooseInput(
  source: InputSource | null,
  asked: AskedInput,
  usual?: { imageSize: number; from: string },
): ChosenInput {
  const saved = source?.input;
  const { sizes, feature } = source ?? {};
  const imageSize = asked.imageSize ?? saved?.imageSize ??
    fitSize(sizes, usual?.imageSize ?? (isForCifar(source) ? CIFAR_IMAGE_SIZE : undefined));
  if (source !== null) requireImageSize(source, imageSize);
  const ratio = asked.cropRatio ?? saved?.cropRatio ??
    (imageSize === CIFAR_IMAGE_SIZE && isForCifar(source) ? CROP_RATIOS.none : undefined);
  const cropRatio = ratio === "auto" ? undefined : ratio;
  const usualFilter = saved?.interpolation ?? source?.interpolation ?? "bilinear";
  const interpolation = asked.interpolation ?? usualFilter;
  const place = source === null ? undefined : describePlace(source);
  const choice = source !== null
    ? describeChoice(source, asked, imageSize, usual?.from)
    : asked.imageSize === undefined && usual === undefined
    ? `fresh weights have no image size: using ${pixels(imageSize)}; --image-size sets another`
    : undefined;
  const notes = [
    ...place === undefined ? [] : [`${source!.path}: ${place}`],
    ...choice === undefined ? [] : [choice],
    ...source === null || interpolation === usualFilter ? [] : [
      `${source.path}: images are resized by the ${interpolation} filter, as requested, and not by the ${usualFilter} one`,
    ],
    ...saved?.feature === undefined || feature === undefined || feature === saved.feature
      ? []
      : [`${source!.path}: the feature is ${feature}, as requested, and not ${saved.feature}`],
  ];
  return { imageSize, cropRatio, interpolation, note: notes.length === 0 ? undefined : notes.join(". ") };
}

/** Whether the first layers of an encoder are for CIFAR's images, and its file says no size. */
function isForCifar(source: Pick<InputSource, "stem" | "input" | "sizes"> | null): boolean {
  if (source === null || source.input?.imageSize !== undefined || source.sizes !== undefined) return false;
  return source.stem === "cifar" || source.stem === "cifar_pad2";
}

/** The size that is taken where nobody says one: the least that an encoder takes from `wanted` pixels on, or its usual one. */
function fitSize(sizes: ImageSizes | undefined, wanted: number | undefined): number {
  if (sizes === undefined) return wanted ?? PAPER_IMAGE_SIZE;
  if (wanted === undefined || sizes.fixed) return sizes.usual;
  return Math.ceil(wanted / sizes.multiple) * sizes.multiple;
}

/**
 * Fails where an encoder does not take images of a size.
 *
 * @param source its checkpoint
 * @param flag that says the size
 */
export function requireImageSize(
  source: Pick<InputSource, "path" | "sizes" | "smallest">,
  imageSize: number,
  flag = "--image-size",
): void {
  const problem = describeImageSize(source, imageSize, imageSize);
  if (problem !== undefined) throw new UserError(`${source.path}: its encoder takes ${problem} (${flag})`);
}

/** Where in a file an encoder was found, and which others were left out; `undefined` where there is no choice. */
export function describePlace(
  { framework, prefix, others, likelyStem, likelyInput }: Pick<
    InputSource,
    "framework" | "prefix" | "others" | "likelyStem" | "likelyInput"
  >,
): string | undefined {
  if (others === undefined) return undefined;
  if (framework === "mocov3" && others.length > 0) {
    return `the encoder is under ${prefix}*, which MoCo-v3's main_lincls.py loads; its momentum encoder is ignored, ` +
      "--weights momentum_encoder selects it";
  }
  if (framework === "moco") {
    return `the encoder is under ${prefix}*, which MoCo's main_lincls.py and the original SEED load; its momentum encoder is ` +
      "ignored, --weights module.encoder_k selects it";
  }
  const place = prefix === "" ? [] : [`the encoder is under ${prefix}*`];
  const stem = likelyStem === undefined ? [] : [`its stem is ${likelyStem}, as solo-learn's for CIFAR`];
  const left = others.length === 0 ? [] : [`ignored ${others.join(", ")}, which --weights can select`];
  const normalization = likelyInput === undefined
    ? []
    : [`its images are normalised by ${describeInput(likelyInput)}, as in MoCo's notebook for CIFAR-10`];
  return [...place, ...stem, ...normalization, ...left].join("; ") || undefined;
}

function pixels(size: number): string {
  return `${size} x ${size} pixels`;
}

function describeChoice(
  source: InputSource,
  asked: AskedInput,
  taken: number,
  from: string | undefined,
): string | undefined {
  const { path, framework, isOurs, input, inputIsOfRun, likelyInput, sizes, sizesAreOf } = source;
  if (input?.imageSize === undefined) {
    const own = describeInput({ mean: input?.mean, std: input?.std });
    const isUnusual = own.startsWith("mean") && likelyInput === undefined;
    if (asked.imageSize) return isUnusual ? `${path}: its images are normalised by ${own}` : undefined;
    const why = isOurs ? "it was written by an earlier version" : "its program saves none";
    const isCifar = isForCifar(source);
    const authors = sizes === undefined ? AUTHORS[framework] : `the usual size of ${sizesAreOf}`;
    const size = from ?? (isCifar ? "the size of CIFAR's images, which its stem is for" : authors);
    const normalization = isUnusual
      ? `. Its images are normalised by ${own}`
      : isCifar && !isOurs && own === ""
      ? ". Its images are assumed to be normalised by ImageNet's mean and std, and programs for CIFAR have others: " +
        "export --mean --std records them"
      : "";
    return `${path} has no image size (${why}): using ${
      pixels(taken)
    }, ${size}; --image-size sets another${normalization}`;
  }
  const others = [
    ...asked.imageSize && asked.imageSize !== input.imageSize
      ? [`using ${pixels(asked.imageSize)} instead, as requested`]
      : [],
    ...asked.cropRatio && input.cropRatio !== undefined && asked.cropRatio !== input.cropRatio
      ? [
        asked.cropRatio === "auto"
          ? "the crop ratio is chosen by the images instead" // a default of programs, and maybe nobody's request
          : `using crop ratio ${asked.cropRatio} instead, as requested`,
      ]
      : [],
  ];
  const says = inputIsOfRun
    ? "says of its run, since it was written before checkpoints carried their own"
    : "says";
  return [`${path} ${says}: ${describeInput(input)}`, ...others].join("; ");
}

/** What is known of an encoder's images, in words. */
export function describeInput(
  { imageSize, cropRatio, interpolation, mean, std, stem, heads, feature }: SavedInput,
): string {
  const { mean: usualMean, deviation: usualStd } = IMAGENET_NORMALIZATION;
  const isUsual = (values: readonly number[] | undefined, usual: readonly number[]) =>
    values === undefined || values.join() === usual.join();
  const normalization = mean === undefined && std === undefined
    ? []
    : isUsual(mean, usualMean) && isUsual(std, usualStd)
    ? ["ImageNet's mean and std"]
    : [`mean ${(mean ?? usualMean).join(" ")}, std ${(std ?? usualStd).join(" ")}`];
  return [
    ...imageSize === undefined ? [] : [`images of ${pixels(imageSize)}`],
    ...cropRatio === undefined ? [] : [`crop ratio ${cropRatio}`],
    ...interpolation === "bicubic" ? ["bicubic interpolation"] : [],
    ...normalization,
    ...stem === undefined ? [] : [`stem ${stem}`],
    ...heads === undefined ? [] : [`${heads} attention heads`],
    ...feature === undefined ? [] : [`feature ${feature}`],
  ].join(", ");
}

/**
 * Returns what is kept in a checkpoint of an encoder that takes such views.
 *
 * @param saved what the encoder's own checkpoint says, which has its normalisation
 */
export function inputOf<Views extends Pick<SavedInput, "imageSize" | "cropRatio" | "interpolation">>(
  encoder: Encoder,
  views: Views,
  saved: SavedInput = {},
): Views & SavedInput & { arch: string } {
  const { mean, deviation } = IMAGENET_NORMALIZATION;
  const { heads, feature = "cls" } = encoder;
  return {
    arch: encoder.name,
    ...views,
    mean: saved.mean ?? mean,
    std: saved.std ?? deviation,
    stem: stemOf(encoder),
    ...heads !== undefined && { heads },
    ...feature !== "cls" && { feature },
  };
}

/**
 * First convolution of an encoder and the pooling behind it, with their strides: `conv 7x7/2, max pool 3x3/2`. More padding than
 * half the kernel is said too: `conv 3x3/1 padding 2`.
 */
export function stemOf(encoder: Encoder): string {
  const graph = new Graph();
  const { images } = traceImages(graph, "normalized", 1, sampleSize(encoder));
  traceEncoder(encoder, new EncoderBuilder(graph, "eval"), images, usualHead(encoder));
  const layers: string[] = [];
  for (const node of graph.nodes) {
    if (node.op === conv2d || node.op === depthwiseConv2d) {
      if (layers.length > 0) break;
      const [, { shape: [height, width] }] = node.inputs;
      const { padTop } = node.attributes as { padTop: number };
      const padding = padTop > height / 2 ? ` padding ${padTop}` : "";
      layers.push(`conv ${height}x${width}/${strideOf(node)}${padding}`);
    } else if (node.op === maxPool) {
      const { kernel } = node.attributes as { kernel: number };
      layers.push(`max pool ${kernel}x${kernel}/${strideOf(node)}`);
    }
  }
  return layers.join(", ");
}

function strideOf({ attributes }: Node): number {
  return (attributes as { stride: number }).stride;
}

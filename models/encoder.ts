/** What an encoder is. The encoders that there are stand in `registry.ts`. */
import { UserError } from "../errors.ts";
import type { Tensor } from "../kernels/graph.ts";
import type { EncoderBuilder } from "./encoder_builder.ts";
import type { Initial } from "./encoder_layers.ts";
import type { HeadKind, HeadOptions } from "./heads.ts";

/** Outputs of an encoder. */
export interface EncoderOutputs {
  /** Pooled feature [n, 1, 1, f]: what kNN and the linear probe use. */
  feature: Tensor;
  /**
   * Output of the head [n, 1, 1, d], which SEED's loss uses after normalisation. SimCLR's and SWAV's are already
   * normalised, but for the logits of a classifier.
   */
  embedding: Tensor;
  /**
   * Traces the last feature map [n, h, w, c], which the feature is pooled from; of a vision transformer the patch tokens after the
   * last norm. Losses that compare maps need it.
   */
  map?(): Tensor;
}

/** Method that a teacher was trained with (`--teacher-ssl`), which determines the key names of its checkpoint. */
export type TeacherSsl = "moco" | "simclr" | "swav" | "dino" | "dinov2" | "dinov3" | "mocov3";

/** What the methods are called in messages. */
export const SSL_TITLES: Readonly<Record<TeacherSsl, string>> = {
  moco: "MoCo",
  simclr: "SimCLR",
  swav: "SWAV",
  dino: "DINO",
  dinov2: "DINOv2",
  dinov3: "DINOv3",
  mocov3: "MoCo-v3",
};

/**
 * Methods whose authors resize images by a bicubic filter before they evaluate an encoder: DINO's and iBOT's `eval_knn.py` and
 * `eval_linear.py`, `make_classification_eval_transform()` of DINOv2 and DINOv3. The others use torchvision's bilinear one.
 */
export const BICUBIC_EVALUATIONS: readonly TeacherSsl[] = ["dino", "dinov2", "dinov3"];

/** Learning rates of a linear evaluation, for a batch of 256 images. */
export interface LinearRates {
  /** What the authors take, for messages. */
  readonly authors: string;
  /** What is worth trying side by side: their features are not always these, nor is their schedule. */
  readonly tried: readonly number[];
}

/** What DINOv2 and DINOv3 try. */
const DINOV2_RATES: LinearRates = {
  authors: "the best of 13 from 0.00001 to 0.1",
  tried: [0.0001, 0.001, 0.01, 0.1],
};

/**
 * Rates of methods whose authors do not evaluate with MoCo's and SEED's 30: SimCLR's README; `eval_linear.py` of SWAV, whose 8 GPUs
 * have 32 images each, and of DINO; `eval/linear.py` of DINOv2 and DINOv3; CONFIG.md of MoCo-v3 for its vision transformers.
 */
export const LINEAR_RATES: Readonly<Partial<Record<TeacherSsl, LinearRates>>> = {
  simclr: { authors: "0.1", tried: [0.01, 0.1, 1] },
  swav: { authors: "0.3", tried: [0.03, 0.3, 3] },
  dino: { authors: "0.001", tried: [0.0001, 0.001, 0.01, 0.1] },
  dinov2: DINOV2_RATES,
  dinov3: DINOV2_RATES,
  mocov3: { authors: "3", tried: [0.3, 3, 30] },
};

/**
 * Features of a vision transformer, `--feature`: the class token after the last norm, the mean of the patch tokens after it, or
 * both, the class token first. Of DINOv3's ConvNeXts: the norm of the mean over pixels, the mean of the norms, or both.
 */
export type FeatureKind = "cls" | "mean" | "cls+mean";

/** Every {@linkcode FeatureKind}. */
export const FEATURES: readonly FeatureKind[] = ["cls", "mean", "cls+mean"];

/** Role of an encoder in a distillation. */
export type EncoderRole = "teacher" | "student";

/**
 * Choices of an encoder's first layers, `--stem`. `imagenet`: as its authors have them. `cifar`: for images of about 32
 * pixels, see {@linkcode Encoder.cifar}. `cifar_pad2`: as solo-learn has them for such images, see
 * {@linkcode Encoder.cifarPad2}.
 */
export type Stem = "imagenet" | "cifar" | "cifar_pad2";

/** Every {@linkcode Stem}. */
export const STEMS: readonly Stem[] = ["imagenet", "cifar", "cifar_pad2"];

/** Name of the encoder that another one is with a stem. */
export function nameWithStem(name: string, stem: Stem): string {
  return stem === "imagenet" ? name : `${name}_${stem}`;
}

/** Images that an encoder takes, where not every size will do. */
export interface ImageSizes {
  /** Height and width that its authors use, in pixels. */
  readonly usual: number;
  /** What divides height and width, in pixels: the side of a patch. */
  readonly multiple: number;
  /** Whether no other size than the usual one will do. */
  readonly fixed?: boolean;
}

/** An entry of a state_dict that nothing is computed from. */
export interface UnusedEntry {
  /** Name of the entry. */
  readonly key: string;
  /** Shape in PyTorch's layout. */
  readonly shape: readonly number[];
  /**
   * What it is where a checkpoint lacks it: `given` and `constant` values, or those of another entry, of this key. Without it, it
   * is left out.
   */
  readonly otherwise?: Extract<Initial, { draw: "constant" | "given" }> | string;
}

/** An encoder: a plain function over graph ops. */
export interface Encoder {
  /** Name in flags and options. */
  readonly name: string;
  /** Family, by which tables group it. */
  readonly family: string;
  /** PyTorch model with the same keys and outputs, for display. */
  readonly original?: string;
  /** Name in `torchvision.models` of a model whose backbone has the same keys and outputs. */
  readonly torchvision?: string;
  /** Roles that it is meant for. The widest are too large for students, and on some adapters to train at all. */
  readonly roles: readonly EncoderRole[];
  /** Method whose checkpoints have its key names. SEED's own students have MoCo's. */
  readonly ssl: TeacherSsl;
  /** Its usual head. It can be traced with any. `none`: its embedding is its feature. */
  readonly head: HeadKind;
  /** Length of the pooled feature. */
  readonly features: number;
  /** Which feature it gives, of an encoder that can give several. */
  readonly feature?: FeatureKind;
  /** Of such an encoder, the one with the same weights that gives another feature; `chooseFeature()` calls it. */
  withFeature?(feature: FeatureKind): Encoder;
  /** Sizes of images; any where it is left out. */
  readonly sizes?: ImageSizes;
  /** Height and width of the smallest images that it takes, in pixels; absent where no image is too small. */
  readonly smallest?: number;
  /** Heads of a vision transformer, which no shape of its tensors tells. */
  readonly heads?: number;
  /**
   * Entries of its authors' model that neither feature nor embedding depends on. Exports have them, so that its code loads
   * them strictly.
   */
  readonly unused?: readonly UnusedEntry[];
  /** Entries of other modules that its authors save beside it, such as heads of training. */
  readonly ignores?: RegExp;
  /** Which of its stems it has: that of the encoder under {@linkcode Encoder.cifar}, say; `imagenet` where it is left out. */
  readonly stem?: Stem;
  /**
   * The encoder that this one is with `--stem cifar`, called {@linkcode nameWithStem}; absent where there is none.
   *
   * - ResNets: `conv1` is 3x3 with stride 1 and padding 1 instead of 7x7 with stride 2, and no max pooling follows, as
   *   in MoCo's and SimCLR's runs on CIFAR-10. An image of 32 pixels has 4x4 places behind the last block, not 1x1.
   * - MobileNetV3 and EfficientNet: the first convolution, which is 3x3, has stride 1 instead of 2; 2x2, not 1x1.
   * - Vision transformers: patches of 4 pixels instead of 16; 8x8 patches, not 2x2.
   */
  readonly cifar?: Encoder;
  /**
   * The encoder that this one is with `--stem cifar_pad2`; absent where there is none, as there is of ResNets alone. It is
   * {@linkcode Encoder.cifar} with padding 2 in `conv1`, as solo-learn builds it for CIFAR. No shape of a tensor tells the two
   * apart, but an image of 32 pixels has 5x5 places behind the last block.
   */
  readonly cifarPad2?: Encoder;
  /**
   * The rate of stochastic depth that it is trained with where nobody says one (`--drop-path`); absent where it has none, or one
   * of its own.
   */
  readonly dropPath?: number;
  /**
   * The share of the feature's values that training drops before a classifier, as its authors' model does; none where it is left
   * out. Fine-tuning reads it: the dropout before a head is a part of `trace`.
   */
  readonly headDropout?: number;
  /** The optimizer that it is trained with where nobody names one; SGD where it is left out. */
  readonly optimizer?: "adamw";
  /** Returns the same encoder for images of `size` x `size`, which the patch divides; absent where one fits all sizes. */
  sizedFor?(size: number): Encoder;
  /** Traces it on normalised images [n, h, w, 3]. Throws a `UserError` for sizes that it does not take. */
  trace(builder: EncoderBuilder, images: Tensor, head: HeadOptions): EncoderOutputs;
}

/** Says which images an encoder takes, where it does not take images of a size; `undefined` where it does. */
export function describeImageSize(
  { sizes, smallest = 1 }: Pick<Encoder, "sizes" | "smallest">,
  height: number,
  width: number,
): string | undefined {
  const found = `found ${height} x ${width}`;
  if (Math.min(height, width) < smallest) {
    return `images of ${smallest} x ${smallest} pixels or more, ${found}`;
  }
  if (sizes === undefined) return undefined;
  const { usual, multiple, fixed = false } = sizes;
  if (fixed) {
    return height === usual && width === usual
      ? undefined
      : `images of ${usual} x ${usual} pixels only, ${found}`;
  }
  const wrong = [height, width].find((side) => side % multiple !== 0 || side === 0);
  if (wrong === undefined) return undefined;
  const below = Math.floor(wrong / multiple) * multiple;
  const nearest = below === 0
    ? `the least is ${multiple}`
    : `the nearest to ${wrong} are ${below} and ${below + multiple}`;
  return `images whose sides are multiples of ${multiple} pixels, ${found}; ${nearest}`;
}

/**
 * Fails where an encoder does not take images of a size.
 *
 * @param flag that says the size, if one does
 * @throws {UserError}
 */
export function requireSize(
  encoder: Pick<Encoder, "name" | "sizes" | "smallest">,
  height: number,
  width: number,
  flag?: string,
): void {
  const problem = describeImageSize(encoder, height, width);
  if (problem === undefined) return;
  throw new UserError(`${encoder.name} takes ${problem}${flag === undefined ? "" : ` (${flag})`}`);
}

/**
 * Height and width, in pixels, of images that an encoder can be traced on to learn of its layers.
 *
 * @param wanted where the encoder has no usual size
 */
export function sampleSize(
  { sizes, smallest = 1 }: Pick<Encoder, "sizes" | "smallest">,
  wanted = 64,
): number {
  return sizes?.usual ?? Math.max(wanted, smallest);
}

/**
 * Calls {@linkcode Encoder.trace}, and fails where it does not return outputs: a plugin need not have been compiled with types.
 *
 * @throws {UserError} that names the encoder, and as {@linkcode Encoder.trace}
 */
export function traceEncoder(
  encoder: Encoder,
  builder: EncoderBuilder,
  images: Tensor,
  head: HeadOptions,
): EncoderOutputs {
  const outputs: unknown = encoder.trace(builder, images, head);
  const problem = describeOutputs(outputs);
  if (problem === undefined) return outputs as EncoderOutputs;
  throw new UserError(`\`trace\` of the encoder "${encoder.name}" returned ${problem}`);
}

/** Says what some outputs are instead of an encoder's; `undefined` where they are. */
function describeOutputs(outputs: unknown): string | undefined {
  if (outputs instanceof Promise) {
    outputs.catch(() => {}); // what it is rejected with came of the same fault
    return "a promise; make it a function that is not async";
  }
  const tensors = outputs as Partial<EncoderOutputs> | null | undefined;
  const missing = (["feature", "embedding"] as const).find((what) => !Array.isArray(tensors?.[what]?.shape));
  return missing && `no ${missing}; return { feature, embedding }, two tensors [n, 1, 1, length]`;
}

/**
 * Traces an encoder whose outputs are read. Fails where they do not have the declared length: their rows would be read at the wrong
 * places.
 *
 * @param readsEmbedding whether the embedding is read too, and not the feature alone
 * @throws {UserError} that names the encoder, and as {@linkcode Encoder.trace}
 */
export function traceOutputs(
  encoder: Encoder,
  builder: EncoderBuilder,
  images: Tensor,
  head: HeadOptions,
  { readsEmbedding = true } = {},
): EncoderOutputs {
  const outputs = traceEncoder(encoder, builder, images, head);
  const { name, features } = encoder;
  const require = (what: "feature" | "embedding", length: number, declared: string) => {
    const [expected, found] = [[images.shape[0], 1, 1, length], outputs[what].shape].map((of) =>
      of.join(", ")
    );
    if (found === expected) return;
    throw new UserError(
      `the ${what} of the encoder "${name}" has the shape [${found}], expected [${expected}]: images, 1, 1 and ` +
        declared,
    );
  };
  require("feature", features, "the encoder's `features`");
  if (!readsEmbedding) return outputs;
  if (head.kind === "none") require("embedding", features, "the encoder's `features`, as it has no head");
  else require("embedding", head.dimension, "the head's `dimension`");
  return outputs;
}

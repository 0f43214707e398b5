/** What an encoder is. The encoders that there are stand in `registry.ts`. */
import type { Tensor } from "../kernels/graph.ts";
import type { EncoderBuilder } from "./encoder_builder.ts";
import type { HeadKind, HeadOptions } from "./heads.ts";

/** Outputs of an encoder. */
export interface EncoderOutputs {
  /** Pooled feature [n, 1, 1, f]: what kNN and the linear probe use. */
  feature: Tensor;
  /**
   * Output of the head [n, 1, 1, d], which SEED's loss uses after normalisation. SimCLR's and SWAV's are already
   * normalised.
   */
  embedding: Tensor;
}

/** Method that a teacher was trained with (`--teacher-ssl`), which determines the key names of its checkpoint. */
export type TeacherSsl = "moco" | "simclr" | "swav";

/** Role of an encoder in a distillation. */
export type EncoderRole = "teacher" | "student";

/**
 * Choices of an encoder's first layers, `--stem`. `imagenet`: as its authors have them. `cifar`: for images of about 32
 * pixels, see {@linkcode Encoder.cifar}.
 */
export type Stem = "imagenet" | "cifar";

/** Every {@linkcode Stem}. */
export const STEMS: readonly Stem[] = ["imagenet", "cifar"];

/** Name of the encoder that another one is with the stem for CIFAR. */
export function cifarName(name: string): string {
  return `${name}_cifar`;
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
  /** Its usual head. It can be traced with any. */
  readonly head: HeadKind;
  /** Length of the pooled feature. */
  readonly features: number;
  /**
   * The encoder that this one is with `--stem cifar`, called {@linkcode cifarName}; absent where there is none.
   *
   * - ResNets: `conv1` is 3x3 with stride 1 and padding 1 instead of 7x7 with stride 2, and no max pooling follows, as
   *   in MoCo's and SimCLR's runs on CIFAR-10. An image of 32 pixels has 4x4 places behind the last block, not 1x1.
   * - MobileNetV3 and EfficientNet: the first convolution, which is 3x3, has stride 1 instead of 2; 2x2, not 1x1.
   */
  readonly cifar?: Encoder;
  /** Traces it on normalised images [n, h, w, 3]. */
  trace(builder: EncoderBuilder, images: Tensor, head: HeadOptions): EncoderOutputs;
}

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
  /** Traces it on normalised images [n, h, w, 3]. */
  trace(builder: EncoderBuilder, images: Tensor, head: HeadOptions): EncoderOutputs;
}

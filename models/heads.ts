/** Projection heads: from an encoder's pooled feature to the embedding that is compared with the queue. */
import type { Tensor } from "../kernels/graph.ts";
import type { EncoderBuilder } from "./encoder_builder.ts";
import type { Initial } from "./encoder_layers.ts";

/**
 * Layers of a head.
 *
 * - `none`: the embedding is the feature, as DINO's vision transformers are used
 * - `linear`: one Linear, as MoCo-v1
 * - `mlp`: Linear, ReLU, Linear, as MoCo-v2, SEED's students and SWAV's widest teacher
 * - `mlp_bn`: Linear, BatchNorm1d, ReLU, Linear, as SimCLR and SWAV
 */
export type HeadKind = "none" | "linear" | "mlp" | "mlp_bn";

/** Every {@linkcode HeadKind}. */
export const HEAD_KINDS: readonly HeadKind[] = ["none", "linear", "mlp", "mlp_bn"];

/** Options for the head of an encoder. */
export interface HeadOptions {
  /** Layers of the head. */
  kind: HeadKind;
  /** Length of the embedding; 128 in SEED. */
  dimension: number;
  /** Length of the hidden layer. Default: the encoder's usual one. */
  hidden?: number;
  /**
   * Whether a `linear` one is the classifier of a linear evaluation or a fine-tuning, which is trained behind the feature in the
   * place of the encoder's own head. It is called `fc` then, and its outputs are logits, which no encoder normalises.
   */
  isClassifier?: boolean;
}

/** Index of each layer within the head, as `nn.Sequential` counts them. */
const LAST_LAYER: Readonly<Record<Exclude<HeadKind, "none" | "linear">, number>> = { mlp: 2, mlp_bn: 3 };

/**
 * Declares the head under `key`, and returns a function that applies it: [n, 1, 1, features] -> [n, 1, 1, dimension].
 *
 * @param hidden length of the hidden layer if `head` has none
 * @param weights initialisation of the last layer's weights, with biases of 0; if omitted, PyTorch's for both
 */
export function projectionHead(
  b: EncoderBuilder,
  key: string,
  features: number,
  head: HeadOptions,
  hidden: number = features,
  weights?: Initial,
): (feature: Tensor) => Tensor {
  const { kind, dimension } = head;
  if (kind === "none") return (feature) => feature;
  if (kind === "linear") {
    const fc = b.linear(key, features, dimension, weights);
    return (feature) => b.convolve(feature, fc);
  }
  const between = head.hidden ?? hidden;
  const first = b.linear(`${key}.0`, features, between);
  const norm = kind === "mlp_bn" ? b.batchNorm(`${key}.1`, between) : undefined;
  const last = b.linear(`${key}.${LAST_LAYER[kind]}`, between, dimension, weights);
  return (feature) => {
    const y = norm === undefined
      ? b.convolve(feature, first, { activation: "relu" })
      : b.convolveAndNormalize(feature, first, norm, { activation: "relu" });
    return b.convolve(y, last);
  };
}

/** What the keys of layers begin with that belong to a loss, see `LossMaps` in `loss/loss_inputs.ts`: no encoder needs them. */
export const LOSS_LAYER = "loss_";

/** The head that some keys speak of, and where it is: `root` is `fc`, or `projection_head` as SWAV has it. */
export interface FoundHead extends HeadOptions {
  root: string;
}

/**
 * Finds the head among an encoder's tensors by plain key.
 *
 * @returns `undefined` where there is none, or none that is known
 */
export function findHead(
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): FoundHead | undefined {
  for (const root of ["fc", "projection_head"]) {
    const rows = (layer: string) => tensors.get(`${root}${layer}.weight`)?.shape[0];
    const single = rows("");
    if (single !== undefined) return { root, kind: "linear", dimension: single };
    const kind = tensors.has(`${root}.1.running_mean`) ? "mlp_bn" : "mlp";
    const [hidden, dimension] = [rows(".0"), rows(`.${LAST_LAYER[kind]}`)];
    if (hidden === undefined || dimension === undefined) continue;
    const layers = kind === "mlp_bn" ? ["0", "1", "3"] : ["0", "2"];
    const others = [...tensors.keys()].some((key) =>
      key.startsWith(`${root}.`) && !layers.includes(key.split(".")[1])
    );
    // More layers, e.g. three as SimSiam has them, are a head of another kind.
    if (!others) return { root, kind, dimension, hidden };
  }
  return undefined;
}

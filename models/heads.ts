/** Projection heads: from an encoder's pooled feature to the embedding that is compared with the queue. */
import type { Tensor } from "../kernels/graph.ts";
import type { EncoderBuilder } from "./encoder_builder.ts";

/** `mlp`: Linear, ReLU, Linear, as MoCo-v2 and SEED's students; `linear`: one Linear, as MoCo-v1. */
export type HeadKind = "mlp" | "linear";

/** What an encoder ends in. */
export interface HeadOptions {
  kind: HeadKind;
  /** Length of the embedding; 128 in SEED. */
  dimension: number;
}

/** Declares the head under `key`; the result applies it: [n, 1, 1, features] -> [n, 1, 1, dimension]. */
export function projectionHead(
  b: EncoderBuilder,
  key: string,
  features: number,
  { kind, dimension }: HeadOptions,
): (feature: Tensor) => Tensor {
  if (kind === "linear") {
    const fc = b.linear(key, features, dimension);
    return (feature) => b.apply(feature, fc);
  }
  const hidden = b.linear(`${key}.0`, features, features);
  const output = b.linear(`${key}.2`, features, dimension);
  return (feature) => b.apply(b.apply(feature, hidden, { relu: true }), output);
}

/** Squeeze-and-excite (Hu et al. 2018): an image's channels, weighed by what the whole image holds. */
import type { Tensor } from "../kernels/graph.ts";
import type { Activation } from "../kernels/ops/activation/activation.ts";
import { globalAveragePool } from "../kernels/ops/global_average_pool/global_average_pool.ts";
import { scaleChannels } from "../kernels/ops/scale_channels/scale_channels.ts";
import type { EncoderBuilder } from "./encoder_builder.ts";
import type { Convolution } from "./encoder_layers.ts";

/** Layers and activations of {@linkcode squeezeAndExcite}. */
export interface SqueezeExcite {
  /** From the channels to a few, 1 x 1. */
  reduce: Convolution;
  /** Activation behind it. */
  inner: Activation;
  /** Back to the channels, 1 x 1. */
  expand: Convolution;
  /** Activation that makes a factor of each channel. */
  gate: Activation;
  /** Applied to the scaled channels. */
  activation?: Activation;
}

/** f(x * gate(expand(inner(reduce(mean(x)))))): x [n, h, w, c] -> [n, h, w, c]. */
export function squeezeAndExcite(
  b: EncoderBuilder,
  x: Tensor,
  { reduce, inner, expand, gate, activation }: SqueezeExcite,
): Tensor {
  const squeezed = b.graph.apply(globalAveragePool, [x], {});
  const hidden = b.convolve(squeezed, reduce, { activation: inner });
  const scale = b.convolve(hidden, expand);
  return b.graph.apply(scaleChannels, [x, scale], { gate, activation });
}

/** v to a multiple of eight, by no more than a tenth down: `_make_divisible` of the original's models. */
export function roundChannels(channels: number): number {
  const rounded = Math.max(8, Math.floor((channels + 4) / 8) * 8);
  return rounded < 0.9 * channels ? rounded + 8 : rounded;
}

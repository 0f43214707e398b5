/** What optimizers and clipping compute, in float64 by the formulas of PyTorch's documentation. */
import type { AdamWAttributes } from "../../../kernels/ops/adamw/adamw.ts";

/** `torch.optim.AdamW` of one tensor. */
export class AdamW64 {
  readonly weights: Float64Array<ArrayBuffer>;
  readonly mean: Float64Array<ArrayBuffer>;
  readonly square: Float64Array<ArrayBuffer>;
  readonly #attributes: AdamWAttributes;
  #steps: number;

  /** @param moments after that many steps; zeros where they are left out */
  constructor(
    weights: ArrayLike<number>,
    attributes: AdamWAttributes,
    steps = 0,
    [mean, square]: readonly ArrayLike<number>[] = [0, 0].map(() => new Float64Array(weights.length)),
  ) {
    this.weights = Float64Array.from(weights);
    this.mean = Float64Array.from(mean);
    this.square = Float64Array.from(square);
    this.#attributes = attributes;
    this.#steps = steps;
  }

  /** Takes one step. */
  step(gradients: ArrayLike<number>, learningRate: number): void {
    const { betas: [beta1, beta2], epsilon, weightDecay } = this.#attributes;
    const { weights, mean, square } = this;
    const t = ++this.#steps;
    for (let i = 0; i < weights.length; i++) {
      weights[i] -= learningRate * weightDecay * weights[i];
      mean[i] = beta1 * mean[i] + (1 - beta1) * gradients[i];
      square[i] = beta2 * square[i] + (1 - beta2) * gradients[i] ** 2;
      const [m, v] = [mean[i] / (1 - beta1 ** t), square[i] / (1 - beta2 ** t)];
      weights[i] -= learningRate * m / (Math.sqrt(v) + epsilon);
    }
  }
}

/** What `torch.nn.utils.clip_grad_norm_` multiplies gradients by, and their norm. */
export function clip64(
  gradients: readonly ArrayLike<number>[],
  maxNorm: number,
): { norm: number; factor: number } {
  let squares = 0;
  for (const values of gradients) for (let i = 0; i < values.length; i++) squares += values[i] ** 2;
  const norm = Math.sqrt(squares);
  return { norm, factor: Math.min(1, maxNorm / (norm + 1e-6)) };
}

/** The activations in float64, from their definitions. */
import type { Activation } from "../../../kernels/ops/activation/activation.ts";

const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));
const hardSigmoid = (z: number) => Math.min(Math.max(z + 3, 0), 6) / 6;

/** erf by its Taylor series, and where that cancels by the continued fraction of erfc: to 1e-14. */
export function erf(z: number): number {
  const a = Math.abs(z);
  if (a < 3) {
    let term = z;
    let sum = z;
    for (let n = 1; Math.abs(term) > 1e-18; n++) {
      term *= -z * z / n;
      sum += term / (2 * n + 1);
    }
    return 2 / Math.sqrt(Math.PI) * sum;
  }
  return Math.sign(z) * (1 - upperTail(a * Math.SQRT2) * 2);
}

/** 1 - Phi(a) for a > 4, by its continued fraction: as exact far out as anywhere. */
function upperTail(a: number): number {
  let fraction = a;
  for (let k = 60; k > 0; k--) fraction = a + k / fraction;
  return Math.exp(-a * a / 2) / Math.sqrt(2 * Math.PI) / fraction;
}

/** z Phi(z). */
function gelu(z: number): number {
  if (z < -4) return z * upperTail(-z);
  return z / 2 * (1 + erf(z * Math.SQRT1_2));
}

/** f(z) of each activation. */
export const ACTIVATION_FUNCTIONS: Record<Activation, (z: number) => number> = {
  relu: (z) => Math.max(z, 0),
  sigmoid,
  hard_sigmoid: hardSigmoid,
  swish: (z) => z * sigmoid(z),
  hard_swish: (z) => z * hardSigmoid(z),
  gelu,
};

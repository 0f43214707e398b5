/** The activations in float64, from their definitions. */
import type { Activation } from "../../../kernels/ops/activation/activation.ts";

const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));
const hardSigmoid = (z: number) => Math.min(Math.max(z + 3, 0), 6) / 6;

/** f(z) of each activation. */
export const ACTIVATION_FUNCTIONS: Record<Activation, (z: number) => number> = {
  relu: (z) => Math.max(z, 0),
  sigmoid,
  hard_sigmoid: hardSigmoid,
  swish: (z) => z * sigmoid(z),
  hard_swish: (z) => z * hardSigmoid(z),
};

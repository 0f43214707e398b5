/** Activations: as an op of their own, and as WGSL for the ops that apply one in their epilogue. */
import {
  expectShape,
  type Graph,
  type Node,
  type Op,
  paddedCount,
  padTo4,
  type Tensor,
} from "../../graph.ts";
import { CHANNEL_MASK, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms, WITH_NAN } from "../../wgsl.ts";
import gradientWgsl from "./activation_gradient.wgsl" with { type: "text" };
import wgsl from "./activation.wgsl" with { type: "text" };

/**
 * | name | f(z) |
 * | --- | --- |
 * | `relu` | max(z, 0) |
 * | `sigmoid` | 1 / (1 + e^-z) |
 * | `hard_sigmoid` | relu6(z + 3) / 6 (MobileNetV3, equation of section 5.2) |
 * | `swish` | z * sigmoid(z) (EfficientNet) |
 * | `hard_swish` | z * hard_sigmoid(z) (MobileNetV3) |
 * | `gelu` | z * Phi(z), Phi the normal distribution: (1 + erf(z / sqrt(2))) / 2 (Hendrycks and Gimpel 2016; not its tanh) |
 */
export type Activation = "relu" | "sigmoid" | "hard_sigmoid" | "swish" | "hard_swish" | "gelu";

/** WGSL of f, and of dy * f'(z) from dy and z; at a kink the slope is PyTorch's. */
interface Formula {
  value: string;
  gradient: string;
  /** WGSL functions that only these call. */
  functions?: string;
}

/**
 * WGSL has no erf. For a >= 0, Phi(-a) = e^(-a^2 / 2) * P(a) / Q(a): the quotient was fitted to erfcx(a / sqrt(2)) / 2 on
 * [0, 14], where 2e-9 of it is missing below 5. All coefficients are positive, so that nothing cancels in float32; and since it
 * is the tail that is computed, what is far below zero is as exact as the rest. Beyond 16 the tail is zero.
 */
const GELU = `
fn upper_tail(a: vec4<f32>) -> vec4<f32> {
  let b = min(a, vec4<f32>(16.0));
  let p = 0.5 + b * (0.42465098 + b * (0.17318625 + b * (0.03726173 + b * 0.0036198)));
  let q = 1.0 + b * (1.64718663 + b * (1.16063568 + b * (0.44295339 + b * (0.09341277 + b * 0.00907325))));
  return exp(-0.5 * b * b) * (p / q);
}
fn normal_cdf(z: vec4<f32>) -> vec4<f32> {
  let tail = upper_tail(abs(z));
  return select(tail, 1.0 - tail, z > vec4<f32>());
}
fn normal_density(z: vec4<f32>) -> vec4<f32> {
  let b = min(abs(z), vec4<f32>(16.0));
  return 0.3989423 * exp(-0.5 * b * b);
}
`;

/**
 * A NaN comes out as NaN. Comparisons and minima of floats do not say so on every adapter, since a compiler may take for
 * granted that there is no NaN: where the arithmetic alone does not carry a NaN on, its bits do. At a NaN PyTorch's
 * gradient of `hardsigmoid` is 0 and that of `hardswish` dy, which hides the NaN; here both are NaN.
 */
const FORMULAS: Record<Activation, Formula> = {
  relu: {
    value: "select(z, vec4<f32>(), is_cut(z))",
    // As PyTorch has it: what stands at a NaN passes.
    gradient: "select(dy, vec4<f32>(), is_cut(z))",
  },
  sigmoid: {
    value: "sigmoid(z)",
    gradient: "dy * (sigmoid(z) * (1.0 - sigmoid(z)))",
  },
  hard_sigmoid: {
    value: "with_nan(z, hard_sigmoid(z))",
    gradient: "dy * with_nan(z, hard_sigmoid_slope(z))",
  },
  swish: {
    value: "z * sigmoid(z)",
    gradient: "dy * (sigmoid(z) * (1.0 + z * (1.0 - sigmoid(z))))",
  },
  hard_swish: {
    value: "z * hard_sigmoid(z)",
    gradient: "dy * with_nan(z, hard_sigmoid(z) + z * hard_sigmoid_slope(z))",
  },
  gelu: {
    value: "z * normal_cdf(z)",
    gradient: "dy * (normal_cdf(z) + z * normal_density(z))",
    functions: GELU,
  },
};

/** The identity. */
const NONE: Formula = { value: "z", gradient: "dy" };

/** What the formulas call. The exponent is kept below the largest float32's. */
const FUNCTIONS = `${WITH_NAN}
// Neither above zero nor NaN. As a signed number the bits of what is above zero are too, as an unsigned one those of a NaN with
// its sign set are the largest.
fn is_cut(z: vec4<f32>) -> vec4<bool> {
  return (bitcast<vec4<i32>>(z) <= vec4<i32>()) & (bitcast<vec4<u32>>(z) <= vec4<u32>(0xff800000u));
}
fn sigmoid(z: vec4<f32>) -> vec4<f32> {
  return with_nan(z, 1.0 / (1.0 + exp(min(-z, vec4<f32>(88.0)))));
}
fn hard_sigmoid(z: vec4<f32>) -> vec4<f32> {
  return clamp(z + 3.0, vec4<f32>(), vec4<f32>(6.0)) / 6.0;
}
fn hard_sigmoid_slope(z: vec4<f32>) -> vec4<f32> {
  return select(vec4<f32>(), vec4<f32>(1.0 / 6.0), abs(z) < vec4<f32>(3.0));
}
`;

/**
 * WGSL functions `activation(z)` and `activation_gradient(dy, z)`, of vec4s, the latter dy * f'(z); the identity where
 * none is named.
 * Mind {@linkcode keepsZero} before the result goes into a tensor with pad lanes.
 *
 * @param others more of them, by the name that they have in the place of `activation`
 */
export function activationWgsl(
  activation: Activation | undefined,
  others: Readonly<Record<string, Activation | undefined>> = {},
): string {
  const formulas = Object.entries({ activation, ...others }).map(([name, which]) =>
    [name, which === undefined ? NONE : FORMULAS[which]] as const
  );
  const called = new Set(formulas.map(([, { functions = "" }]) => functions));
  const functions = formulas.map(([name, { value, gradient }]) => {
    return `
fn ${name}(z: vec4<f32>) -> vec4<f32> { return ${value}; }
fn ${name}_gradient(dy: vec4<f32>, z: vec4<f32>) -> vec4<f32> { return ${gradient}; }
`;
  });
  return FUNCTIONS + [...called, ...functions].join("");
}

/** Whether f(0) = 0. Where it is not, an op must write zeros into the pad lanes itself. */
export function keepsZero(activation: Activation | undefined): boolean {
  return activation !== "sigmoid" && activation !== "hard_sigmoid";
}

/** Attributes of {@linkcode activate}. */
export interface ActivationAttributes {
  /** What is applied to each element. */
  activation: Activation;
}

/** The passes over all elements share their uniforms: vec4s in the tensor and in a row, and a row's channels. */
function dispatchOver(output: Tensor) {
  const channels = output.shape.at(-1)!;
  const vec4s = paddedCount(output) / 4;
  return {
    uniforms: uniforms(vec4s, padTo4(channels) / 4, channels),
    workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
  };
}

/** y = f(x), of any shape. */
export const activate: Op<ActivationAttributes> = {
  name: "activate",

  shape: ([x]) => [{ shape: x.shape }],

  gradient(graph, node, [dy]) {
    return [graph.apply(activationGradient, [dy!, node.inputs[0]], node.attributes as ActivationAttributes)];
  },

  lower(lowering, node, { activation }) {
    lowering.dispatch({
      label: activation,
      source: LINEAR_MAIN + CHANNEL_MASK + activationWgsl(activation) +
        `const KEEPS_ZERO = ${keepsZero(activation)};\n` + wgsl,
      bindings: [node.inputs[0], node.outputs[0]],
      ...dispatchOver(node.outputs[0]),
    });
  },
};

/** dz = dy * f'(z); for `relu` its output serves in place of z. */
export const activationGradient: Op<ActivationAttributes> = {
  name: "activation_gradient",

  shape([dy, z]) {
    expectShape("activation_gradient", dy.shape.join() === z.shape.join(), "dy and z of one shape", dy, z);
    return [{ shape: dy.shape }];
  },

  lower(lowering, node, { activation }) {
    lowering.dispatch({
      label: `${activation}_gradient`,
      source: LINEAR_MAIN + activationWgsl(activation) + gradientWgsl,
      bindings: [...node.inputs, node.outputs[0]],
      ...dispatchOver(node.outputs[0]),
    });
  },
};

/**
 * The gradient in front of the activation in an op's epilogue, from the gradient behind it.
 *
 * @throws Error for another than `relu`, which alone is seen from the op's output: a bug of who traces it so
 */
export function epilogueGradient(
  graph: Graph,
  { op, outputs: [y] }: Node,
  dy: Tensor,
  activation: Activation | undefined,
): Tensor {
  if (activation === undefined) return dy;
  if (activation === "relu") return graph.apply(activationGradient, [dy, y], { activation });
  throw new Error(`${op.name}: ${activation} has no gradient here; apply it as an op of its own`);
}

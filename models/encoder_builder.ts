/**
 * What encoders are written with: layers under PyTorch's names, traced for training or for inference.
 *
 * An encoder declares its layers in the order of PyTorch's `state_dict` and then applies them. In training a
 * convolution is followed by a batch norm with the batch's statistics; at inference the running statistics are folded
 * into the convolution's weight and bias (in float64), so that batch norm costs nothing.
 */
import type { Graph, Tensor } from "../kernels/graph.ts";
import { padRows, unpadRows } from "../kernels/layout.ts";
import { batchNorm, batchStatistics, updateRunningStatistics } from "../kernels/ops/batch_norm/batch_norm.ts";
import { conv2d } from "../kernels/ops/conv2d/conv2d.ts";
import { convolutionFromDevice, convolutionShape, convolutionToDevice } from "./parameter_layout.ts";

/** `train`: batch statistics, trainable parameters. `eval`: folded running statistics, frozen. */
export type EncoderMode = "train" | "eval";

/** What a state_dict entry is. */
export type StateKind =
  /** Trained by SGD. */
  | "parameter"
  /** A batch norm's running mean or variance. */
  | "running"
  /** `num_batches_tracked`: counts training steps, not on the device. */
  | "counter";

/** One entry of the state_dict, in PyTorch's order and layout. */
export interface StateEntry {
  key: string;
  shape: readonly number[];
  kind: StateKind;
  /** What a fresh encoder has here. */
  initial: Initial;
}

/** How a fresh value is drawn, as torchvision's ResNet and `nn.Linear` do. */
export type Initial =
  /** Normal with deviation sqrt(2 / fan_out): `kaiming_normal_(mode="fan_out", nonlinearity="relu")`. */
  | { draw: "kaiming_fan_out"; fanOut: number }
  /** Uniform within +-bound. */
  | { draw: "uniform"; bound: number }
  | { draw: "constant"; value: number };

/** A tensor on the device that is made from state_dict entries. */
export interface DeviceParameter {
  tensor: Tensor;
  kind: Exclude<StateKind, "counter">;
  /** The entries it is made of; a folded convolution has several. */
  keys: readonly string[];
  /** Device layout from the entries' values, in the order of `keys`. */
  toDevice(values: readonly Float32Array[]): Float32Array<ArrayBuffer>;
  /** The one entry's value from the device; absent where several were folded into one. */
  fromDevice?(device: Float32Array): Float32Array<ArrayBuffer>;
}

/** A declared convolution. */
export interface Convolution {
  readonly key: string;
  /** [out, in, kh, kw] */
  readonly shape: readonly number[];
  readonly stride: number;
  readonly padding: number;
}

/** A declared batch norm. */
export interface BatchNorm {
  readonly key: string;
  readonly channels: number;
  readonly epsilon: number;
  readonly momentum: number;
}

/** A declared linear layer. */
export interface Linear {
  readonly key: string;
  readonly inputs: number;
  readonly outputs: number;
}

const POINTWISE = { stride: 1, padTop: 0, padLeft: 0, padBottom: 0, padRight: 0 };

/** Declares and applies layers; collects the state_dict and what the device holds of it. */
export class EncoderBuilder {
  readonly graph: Graph;
  readonly mode: EncoderMode;
  /** The state_dict, in PyTorch's order. */
  readonly state: StateEntry[] = [];
  /** What the device holds, in the order of first use. */
  readonly parameters: DeviceParameter[] = [];

  constructor(graph: Graph, mode: EncoderMode) {
    this.graph = graph;
    this.mode = mode;
  }

  /** Declares `nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)`. */
  convolution(
    key: string,
    { inputs, outputs, kernel, stride = 1, padding = 0 }: {
      inputs: number;
      outputs: number;
      kernel: number;
      stride?: number;
      padding?: number;
    },
  ): Convolution {
    const shape = [outputs, inputs, kernel, kernel];
    const initial: Initial = { draw: "kaiming_fan_out", fanOut: outputs * kernel * kernel };
    this.state.push({ key: `${key}.weight`, shape, kind: "parameter", initial });
    return { key, shape, stride, padding };
  }

  /** Declares `nn.BatchNorm2d(channels)`; `momentum` is PyTorch's, the weight of the new batch. */
  batchNorm(key: string, channels: number, { epsilon = 1e-5, momentum = 0.1 } = {}): BatchNorm {
    const shape = [channels];
    const entry = (
      name: string,
      kind: StateKind,
      value: number,
      of: readonly number[] = shape,
    ): StateEntry => ({
      key: `${key}.${name}`,
      shape: of,
      kind,
      initial: { draw: "constant", value },
    });
    this.state.push(
      entry("weight", "parameter", 1),
      entry("bias", "parameter", 0),
      entry("running_mean", "running", 0),
      entry("running_var", "running", 1),
      entry("num_batches_tracked", "counter", 0, []),
    );
    return { key, channels, epsilon, momentum };
  }

  /** Declares `nn.Linear(inputs, outputs)`. */
  linear(key: string, inputs: number, outputs: number): Linear {
    const initial: Initial = { draw: "uniform", bound: 1 / Math.sqrt(inputs) };
    this.state.push({ key: `${key}.weight`, shape: [outputs, inputs], kind: "parameter", initial });
    this.state.push({ key: `${key}.bias`, shape: [outputs], kind: "parameter", initial });
    return { key, inputs, outputs };
  }

  /** relu?(norm(convolve(x)) + residual?): x [n, h, w, in] -> [n, ho, wo, out]. */
  convolveAndNormalize(
    x: Tensor,
    convolution: Convolution,
    norm: BatchNorm,
    { relu = true, residual }: { relu?: boolean; residual?: Tensor } = {},
  ): Tensor {
    const { stride, padding } = convolution;
    const geometry = { stride, padTop: padding, padLeft: padding, padBottom: padding, padRight: padding };
    const extra = residual === undefined ? [] : [residual];
    if (this.mode === "eval") {
      const { weight, bias } = this.#folded(convolution, norm);
      const attributes = { ...geometry, bias: true, addend: residual !== undefined, relu };
      return this.graph.apply(conv2d, [x, weight, bias, ...extra], attributes);
    }
    const weight = this.#weight(`${convolution.key}.weight`, convolution.shape);
    const y = this.graph.apply(conv2d, [x, weight], geometry);
    const statistics = this.graph.apply(batchStatistics, [y], {});
    const running = ["running_mean", "running_var"].map((name) =>
      this.#vector(`${norm.key}.${name}`, norm.channels, "running")
    );
    const [n, ho, wo] = y.shape;
    this.graph.applyAll(updateRunningStatistics, [statistics, ...running], {
      momentum: norm.momentum,
      count: n * ho * wo,
    });
    const affine = ["weight", "bias"].map((name) =>
      this.#vector(`${norm.key}.${name}`, norm.channels, "parameter")
    );
    return this.graph.apply(batchNorm, [y, statistics, ...affine, ...extra], {
      epsilon: norm.epsilon,
      relu,
      residual: residual !== undefined,
    });
  }

  /** relu?(x W^T + b): x [n, 1, 1, in] -> [n, 1, 1, out]. */
  apply(x: Tensor, { key, inputs, outputs }: Linear, { relu = false } = {}): Tensor {
    const weight = this.#weight(`${key}.weight`, [outputs, inputs, 1, 1]);
    const bias = this.#vector(`${key}.bias`, outputs, "parameter");
    return this.graph.apply(conv2d, [x, weight, bias], { ...POINTWISE, bias: true, relu });
  }

  #weight(key: string, shape: readonly number[]): Tensor {
    const tensor = this.graph.source(key, convolutionShape(shape));
    this.parameters.push({
      tensor,
      kind: "parameter",
      keys: [key],
      toDevice: ([values]) => convolutionToDevice(values, shape),
      fromDevice: (device) => convolutionFromDevice(device, shape),
    });
    return tensor;
  }

  #vector(key: string, length: number, kind: DeviceParameter["kind"]): Tensor {
    const tensor = this.graph.source(key, [length]);
    this.parameters.push({
      tensor,
      kind,
      keys: [key],
      toDevice: ([values]) => padRows(values, [length]),
      fromDevice: (device) => unpadRows(device, [length]),
    });
    return tensor;
  }

  /** w' = w * gamma / s, b' = beta - mean * gamma / s, with s = sqrt(variance + epsilon). */
  #folded(convolution: Convolution, norm: BatchNorm): { weight: Tensor; bias: Tensor } {
    const weight = this.graph.source(`${convolution.key}.weight`, convolutionShape(convolution.shape));
    const bias = this.graph.source(`${norm.key}.bias`, [norm.channels]);
    const scaleOf = (gamma: Float32Array, variance: Float32Array) =>
      Float64Array.from(gamma, (value, i) => value / Math.sqrt(variance[i] + norm.epsilon));
    this.parameters.push({
      tensor: weight,
      kind: "parameter",
      keys: [`${convolution.key}.weight`, `${norm.key}.weight`, `${norm.key}.running_var`],
      toDevice: ([values, gamma, variance]) =>
        convolutionToDevice(values, convolution.shape, scaleOf(gamma, variance)),
    }, {
      tensor: bias,
      kind: "parameter",
      keys: ["bias", "running_mean", "weight", "running_var"].map((name) => `${norm.key}.${name}`),
      toDevice: ([beta, mean, gamma, variance]) => {
        const scale = scaleOf(gamma, variance);
        return padRows(Float64Array.from(beta, (value, i) => value - mean[i] * scale[i]), [norm.channels]);
      },
    });
    return { weight, bias };
  }
}

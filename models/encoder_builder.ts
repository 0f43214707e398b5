/**
 * What encoders are written with: layers under PyTorch's names, traced for training or for inference.
 *
 * An encoder declares its layers in the order of PyTorch's `state_dict` and then applies them. In training a
 * convolution is followed by a batch norm with the batch's statistics; at inference the running statistics are folded
 * into the convolution's weight and bias (in float64), so that batch norm costs nothing. So is LayerScale.
 */
import { UserError } from "../errors.ts";
import { byteLength, type Graph, padTo4, type Tensor } from "../kernels/graph.ts";
import { padRows } from "../kernels/layout.ts";
import { activate, type Activation } from "../kernels/ops/activation/activation.ts";
import { add } from "../kernels/ops/add/add.ts";
import { batchNorm, batchStatistics } from "../kernels/ops/batch_norm/batch_norm.ts";
import {
  concatenateChannels,
  sliceChannels,
} from "../kernels/ops/concatenate_channels/concatenate_channels.ts";
import { conv2d, type Conv2dAttributes } from "../kernels/ops/conv2d/conv2d.ts";
import { depthwiseConv2d } from "../kernels/ops/depthwise_conv2d/depthwise_conv2d.ts";
import { dropout } from "../kernels/ops/dropout/dropout.ts";
import { layerNorm } from "../kernels/ops/layer_norm/layer_norm.ts";
import { multiply } from "../kernels/ops/multiply/multiply.ts";
import { scaledResidual } from "../kernels/ops/scaled_residual/scaled_residual.ts";
import { liveNodes } from "../kernels/schedule.ts";
import { DeviceParameters } from "./device_parameters.ts";
import type {
  BatchNorm,
  Convolution,
  ConvolutionOptions,
  DeviceParameter,
  EncoderMode,
  Initial,
  LayerNorm,
  LayerScale,
  MadeTensor,
  Padding,
  StateEntry,
  StateKind,
} from "./encoder_layers.ts";
import { CONVOLUTION, type RowRange } from "./parameter_layout.ts";

/** The same padding on all sides. */
function evenly(padding: number): Padding {
  return { padTop: padding, padLeft: padding, padBottom: padding, padRight: padding };
}

/** Fails where a layer is given images of other channels than it was declared for: it would read what is not there. */
function requireInputs({ key, shape: [outputs, inputs], depthwise }: Convolution, { shape }: Tensor): void {
  const [wanted, found] = [depthwise ? outputs : inputs, shape.at(-1)];
  if (found === wanted) return;
  throw new UserError(
    `${key}: expected ${wanted} channels, as the layer was declared with, found [${shape}]`,
  );
}

/** Fails where what follows a layer has other channels than the layer's outputs. */
function requireOutputs(
  { key, shape: [outputs] }: Convolution,
  of: string,
  channels: number | undefined,
): void {
  if (channels === outputs) return;
  throw new UserError(`${of}: expected the ${outputs} channels that ${key} gives, found ${channels}`);
}

/** Declares and applies layers, and collects the state_dict and its parameters on the device. */
export class EncoderBuilder {
  /** Graph that is traced into. */
  readonly graph: Graph;
  /** For training, or with batch norm folded into the convolutions. */
  readonly mode: EncoderMode;
  /** Share of the images that the last block drops in training, where blocks are dropped by their depth; 0 for none. */
  readonly dropPath: number;
  /** The state_dict, in PyTorch's order. */
  readonly state: StateEntry[] = [];
  /** Parameters on the device, in order of first use. */
  readonly parameters: readonly DeviceParameter[];
  /** Of {@linkcode EncoderBuilder.state}. Traces that share parameters declare the same keys, each in a builder of its own. */
  readonly #keys = new Set<string>();
  readonly #maxWeightBytes: number;
  readonly #splits: number;
  readonly #onEntry: ((entry: StateEntry) => void) | undefined;
  readonly #devices: number;
  readonly #dropoutSeed: Tensor | undefined;
  /** The parameters' tensors, and how many dropouts there are. */
  readonly #shared: { device: DeviceParameters; dropouts: number };

  /**
   * Traces into a graph.
   *
   * @param dropoutSeed u32 [2] that the host writes for every step; dropout and drop-connect are off without it, and
   * in eval mode
   * @param maxWeightBytes in eval mode, weights larger than this on the device are split by output channels; usually
   *   the device's `maxStorageBufferBindingSize`
   * @param halfWeights in eval mode, keep the weights of convolutions and linear layers in float16
   * @param share another trace of the same encoder in the same graph, on other images: both have the same parameters,
   * which are listed by either
   * @param splits in train mode, groups of a batch's images that batch norm normalises apart
   * @param devices in train mode, devices over whose images together batch norm takes its statistics
   * @param dropPath see {@linkcode EncoderBuilder.dropPath}; off without `dropoutSeed`
   * @param onEntry called with each entry of the state_dict as it is declared
   */
  constructor(
    graph: Graph,
    mode: EncoderMode,
    {
      maxWeightBytes = Infinity,
      halfWeights = false,
      dropoutSeed,
      share,
      splits = 1,
      devices = 1,
      dropPath = 0,
      onEntry,
    }: {
      maxWeightBytes?: number;
      halfWeights?: boolean;
      dropoutSeed?: Tensor;
      share?: EncoderBuilder;
      splits?: number;
      devices?: number;
      dropPath?: number;
      onEntry?: (entry: StateEntry) => void;
    } = {},
  ) {
    this.#shared = share === undefined
      ? { device: new DeviceParameters(graph, mode === "eval" && halfWeights), dropouts: 0 }
      : share.#shared;
    this.parameters = this.#shared.device.all;
    this.graph = graph;
    this.mode = mode;
    this.dropPath = dropPath;
    this.#maxWeightBytes = maxWeightBytes;
    this.#splits = splits;
    this.#onEntry = onEntry;
    this.#devices = devices;
    this.#dropoutSeed = mode === "train" ? dropoutSeed : undefined;
  }

  /** Returns the device parameters that tensors depend on, in order of first use. */
  parametersOf(...tensors: Tensor[]): DeviceParameter[] {
    const used = new Set(liveNodes(this.graph, tensors).flatMap(({ inputs }) => inputs));
    return this.parameters.filter((parameter) => used.has(parameter.tensor));
  }

  #declare(...entries: StateEntry[]): void {
    for (const entry of entries) {
      if (this.#keys.has(entry.key)) {
        throw new UserError(
          `two layers have the key "${entry.key}": a checkpoint can hold one of them; give each layer a key of its own`,
        );
      }
      this.#keys.add(entry.key);
      this.state.push(entry);
      this.#onEntry?.(entry);
    }
  }

  /** Declares `nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)`. */
  convolution(key: string, options: ConvolutionOptions): Convolution {
    const { inputs, outputs, kernel, stride = 1, padding = 0, bias = false, depthwise = false } = options;
    const shape = [outputs, depthwise ? 1 : inputs, kernel, kernel];
    const initial = options.initial ?? { draw: "kaiming_fan_out", fanOut: outputs * kernel * kernel };
    this.#declare({ key: `${key}.weight`, shape, kind: "parameter", initial });
    if (bias) this.#declare({ key: `${key}.bias`, shape: [outputs], kind: "parameter", initial });
    const geometry = { stride, ...(typeof padding === "number" ? evenly(padding) : padding) };
    return { key, shape, geometry, bias, depthwise };
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
    this.#declare(
      entry("weight", "parameter", 1),
      entry("bias", "parameter", 0),
      entry("running_mean", "running", 0),
      entry("running_var", "running", 1),
      entry("num_batches_tracked", "counter", 0, []),
    );
    return { key, channels, epsilon, momentum };
  }

  /**
   * Declares `nn.Linear(inputs, outputs)`.
   *
   * @param weights initialisation of the weights, with biases of 0; if omitted, PyTorch's for both
   * @param zeroBias outputs whose bias is zero, whatever the state_dict says
   */
  linear(
    key: string,
    inputs: number,
    outputs: number,
    weights?: Initial,
    { bias: hasBias = true, zeroBias }: { bias?: boolean; zeroBias?: RowRange } = {},
  ): Convolution {
    const usual: Initial = { draw: "uniform", bound: 1 / Math.sqrt(inputs) };
    const initial = weights ?? usual;
    const bias: Initial = weights === undefined ? usual : { draw: "constant", value: 0 };
    this.value(`${key}.weight`, [outputs, inputs], initial);
    if (hasBias) this.value(`${key}.bias`, [outputs], bias);
    const geometry = { stride: 1, ...evenly(0) };
    return { key, shape: [outputs, inputs, 1, 1], geometry, bias: hasBias, depthwise: false, zeroBias };
  }

  /** Declares a trained entry that is of no layer; {@linkcode EncoderBuilder.made} gives tensors of it. */
  value(key: string, shape: readonly number[], initial: Initial): void {
    this.#declare({ key, shape, kind: "parameter", initial });
  }

  /**
   * Declares an entry that is not trained, `register_buffer()`. A checkpoint that lacks it has these values.
   * {@linkcode EncoderBuilder.made} gives tensors of it.
   */
  buffer(key: string, values: readonly number[]): void {
    const initial: Initial = { draw: "given", values };
    this.#declare({ key, shape: [values.length], kind: "running", initial, optional: true });
  }

  /** Declares an entry [..., c] such as `cls_token`, and returns it as rows [n, c]. */
  tokens(key: string, shape: readonly number[], initial: Initial): Tensor {
    this.value(key, shape, initial);
    return this.#shared.device.rows(key, shape);
  }

  /**
   * Makes a tensor of declared entries, or a constant of none. The label tells the tensors of an encoder apart: one of a label that
   * is there already is that one. So it must have all that the values depend on, such as the image's size, which small views have
   * another of. An encoder that is trained has one such tensor of a trained entry: what else depends on the entry is derived from it
   * by an op, see `positionsOf` in `vit_layers.ts`.
   *
   * @throws {Error} where there is one of another shape
   */
  made(label: string, shape: readonly number[], { keys, isConstant = false, ...made }: MadeTensor): Tensor {
    const kind = keys.length === 0 || isConstant ? "running" : "parameter";
    return this.#shared.device.make(label, shape, { kind, keys, ...made });
  }

  /** Declares `nn.LayerNorm(channels, epsilon)`. */
  layerNorm(key: string, channels: number, epsilon: number): LayerNorm {
    this.value(`${key}.weight`, [channels], { draw: "constant", value: 1 });
    this.value(`${key}.bias`, [channels], { draw: "constant", value: 0 });
    return { key, channels, epsilon };
  }

  /** Applies a layer norm to every pixel or token: x [..., c] -> the same. */
  normalize(x: Tensor, { key, channels, epsilon }: LayerNorm): Tensor {
    const affine = ["weight", "bias"].map((name) => this.#vector(`${key}.${name}`, channels));
    return this.graph.apply(layerNorm, [x, ...affine], { epsilon });
  }

  /**
   * Declares LayerScale, which {@linkcode EncoderBuilder.convolveAndAdd} applies.
   *
   * @param key the whole key: `blocks.0.ls1.gamma`
   * @param initial value of every factor
   */
  layerScale(key: string, channels: number, initial: number): LayerScale {
    this.value(key, [channels], { draw: "constant", value: initial });
    return { key, channels };
  }

  /** f(norm(convolve(x)) + residual?): x [n, h, w, in] -> [n, ho, wo, out]. */
  convolveAndNormalize(
    x: Tensor,
    convolution: Convolution,
    norm: BatchNorm,
    { activation, residual }: { activation?: Activation; residual?: Tensor } = {},
  ): Tensor {
    const { geometry } = convolution;
    requireOutputs(convolution, norm.key, norm.channels);
    const extra = residual === undefined ? [] : [residual];
    if (this.mode === "eval") {
      const parameters = (rows?: RowRange) => this.#shared.device.folded(convolution, norm, rows);
      return this.#convolve(x, convolution, { ...geometry, activation }, parameters, residual);
    }
    const y = this.#convolve(x, convolution, geometry, this.#parametersOf(convolution));
    const running = ["running_mean", "running_var"].map((name) =>
      this.#vector(`${norm.key}.${name}`, norm.channels, "running")
    );
    const [splits, devices] = [this.#splits, this.#devices];
    const statistics = this.graph.applyAll(batchStatistics, [y, ...running], {
      momentum: norm.momentum,
      splits,
      devices,
    });
    const affine = ["weight", "bias"].map((name) => this.#vector(`${norm.key}.${name}`, norm.channels));
    return this.graph.apply(batchNorm, [y, ...affine, ...statistics, ...extra], {
      epsilon: norm.epsilon,
      activation,
      residual: residual !== undefined,
      splits,
      devices,
    });
  }

  /** f(convolve(x) + bias?), without a batch norm: x [n, h, w, in] -> [n, ho, wo, out]. */
  convolve(x: Tensor, layer: Convolution, { activation }: { activation?: Activation } = {}): Tensor {
    // In training the gradient needs what goes into the activation, so that it is an op of its own; but for ReLU.
    const apart = this.mode === "train" && activation !== undefined && activation !== "relu";
    const attributes = { ...layer.geometry, activation: apart ? undefined : activation };
    const y = this.#convolve(x, layer, attributes, this.#parametersOf(layer));
    return apart ? this.graph.apply(activate, [y], { activation }) : y;
  }

  /**
   * Returns residual + scale * convolve(x), the end of a transformer's block; in eval mode the scale is folded into the
   * layer. In training, what is added is dropped for a share of the images (stochastic depth).
   *
   * @param rate that share
   */
  convolveAndAdd(
    x: Tensor,
    layer: Convolution,
    residual: Tensor,
    { scale, rate = 0 }: { scale?: LayerScale; rate?: number } = {},
  ): Tensor {
    const { geometry } = layer;
    if (scale !== undefined) requireOutputs(layer, scale.key, scale.channels);
    const drops = this.#dropoutSeed !== undefined && rate > 0;
    const isPlain = scale === undefined && !drops;
    if (this.mode === "eval" || isPlain) {
      return this.#convolve(x, layer, geometry, this.#parametersOf(layer, scale), residual);
    }
    const y = this.#convolve(x, layer, geometry, this.#parametersOf(layer));
    if (scale === undefined) return this.#dropSamples(y, rate, residual);
    const kept = drops ? this.#dropSamples(y, rate) : y;
    return this.graph.apply(scaledResidual, [kept, this.#vector(scale.key, scale.channels), residual], {});
  }

  /** Applies `nn.Dropout(rate)`: drops single values, in training. */
  dropout(x: Tensor, rate: number): Tensor {
    if (this.#dropoutSeed === undefined) return x;
    const salt = this.#shared.dropouts++;
    return this.graph.apply(dropout, [x, this.#dropoutSeed], { rate, granularity: "element", salt });
  }

  /**
   * Returns norm(convolve(x)) + residual, the end of a block. In training, norm(convolve(x)) is dropped for a share
   * of the images.
   *
   * @param rate that share
   */
  convolveNormalizeAndAdd(
    x: Tensor,
    convolution: Convolution,
    norm: BatchNorm,
    residual: Tensor,
    rate: number,
  ): Tensor {
    if (this.#dropoutSeed === undefined || rate === 0) {
      return this.convolveAndNormalize(x, convolution, norm, { residual });
    }
    return this.#dropSamples(this.convolveAndNormalize(x, convolution, norm), rate, residual);
  }

  /** Drops a share of the images, in training with a seed, and adds the residual. */
  #dropSamples(x: Tensor, rate: number, ...residual: Tensor[]): Tensor {
    return this.graph.apply(dropout, [x, this.#dropoutSeed!, ...residual], {
      rate,
      granularity: "sample",
      salt: this.#shared.dropouts++,
      residual: residual.length > 0,
    });
  }

  /**
   * One convolution; or where its weight is too large to bind at once several, of some of the output channels each,
   * side by side.
   *
   * @param parameters the weight and bias (if any) of these output channels, of all where they are left out
   */
  #convolve(
    x: Tensor,
    layer: Convolution,
    attributes: Conv2dAttributes,
    parameters: (rows?: RowRange) => readonly Tensor[],
    residual?: Tensor,
  ): Tensor {
    const { key, shape, depthwise } = layer;
    requireInputs(layer, x);
    if (residual !== undefined) requireOutputs(layer, `what is added to ${key}`, residual.shape.at(-1));
    const apply = (tensors: readonly Tensor[], addend?: Tensor) => {
      const inputs = [x, ...tensors, ...(addend === undefined ? [] : [addend])];
      const optional = { bias: tensors.length === 2, addend: addend !== undefined };
      return this.graph.apply(conv2d, inputs, { ...attributes, ...optional });
    };
    if (depthwise) return this.#convolveDepthwise([x, ...parameters()], attributes, residual);
    const parts = this.#parts(shape);
    if (parts === undefined) return apply(parameters(), residual);
    const outputs = parts.map((rows) =>
      apply(parameters(rows), residual && this.graph.apply(sliceChannels, [residual], { ...rows }))
    );
    return this.graph.apply(concatenateChannels, outputs, {});
  }

  /** A depthwise convolution of x, weight and bias (if any). It adds no residual in its own kernel. */
  #convolveDepthwise(
    inputs: readonly Tensor[],
    { activation, ...geometry }: Conv2dAttributes,
    residual?: Tensor,
  ): Tensor {
    const { graph } = this;
    const bias = inputs.length === 3;
    if (residual === undefined) {
      return graph.apply(depthwiseConv2d, inputs, { ...geometry, activation, bias });
    }
    const sum = graph.apply(add, [graph.apply(depthwiseConv2d, inputs, { ...geometry, bias }), residual], {});
    return activation === undefined ? sum : graph.apply(activate, [sum], { activation });
  }

  /** The output channels that each part of a weight has; `undefined` where it need not be cut. */
  #parts([outputs, ...rest]: readonly number[]): RowRange[] | undefined {
    const bytesOf = (count: number) =>
      byteLength({ shape: CONVOLUTION.shape([count, ...rest]), dtype: "f32" });
    const limit = this.#maxWeightBytes;
    if (this.mode === "train" || bytesOf(outputs) <= limit) return undefined;
    // Where not even four channels can be bound, the store says so.
    const most = Math.max(4, Math.floor(limit / bytesOf(4)) * 4);
    const size = padTo4(Math.ceil(outputs / Math.ceil(outputs / most)));
    return Array.from({ length: Math.ceil(outputs / size) }, (_, i) => ({
      first: i * size,
      count: Math.min(size, outputs - i * size),
    }));
  }

  #vector(key: string, length: number, kind: DeviceParameter["kind"] = "parameter"): Tensor {
    return this.#shared.device.vector(key, length, kind);
  }

  /** The weight and bias of some or all output channels, what they are multiplied by in eval mode among them. */
  #parametersOf(layer: Convolution, scale?: LayerScale): (rows?: RowRange) => readonly Tensor[] {
    const { device } = this.#shared;
    return (rows) => {
      if (this.mode === "eval") {
        return scale === undefined ? device.weightAndBias(layer, rows) : device.scaled(layer, scale, rows);
      }
      const [weight, ...bias] = device.weightAndBias(layer, rows);
      return [weight, ...bias.map((values) => this.#withoutBias(values, layer.zeroBias))];
    };
  }

  /** A bias without some of its elements, which are not trained either: they are multiplied by zero. */
  #withoutBias(bias: Tensor, zeros: RowRange | undefined): Tensor {
    if (zeros === undefined) return bias;
    const { first, count } = zeros;
    const { shape } = bias;
    const mask = this.made(`biases without ${count} from ${first} on, of ${shape[0]}`, shape, {
      keys: [],
      toDevice: () => padRows(new Float32Array(shape[0]).fill(1).fill(0, first, first + count), shape),
    });
    return this.graph.apply(multiply, [bias, mask], {});
  }
}

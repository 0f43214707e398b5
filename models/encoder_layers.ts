/** What layers of an encoder are declared as, and what the state_dict and the device have of them. */
import type { Tensor } from "../kernels/graph.ts";
import type { ConvolutionAttributes } from "../kernels/ops/conv2d/geometry.ts";
import type { RowRange } from "./parameter_layout.ts";

/** `train`: batch statistics, trainable parameters. `eval`: folded running statistics, frozen. */
export type EncoderMode = "train" | "eval";

/** Kind of a state_dict entry. */
export type StateKind =
  /** Trained by SGD. */
  | "parameter"
  /** Not trained: a batch norm's running mean or variance, the periods of a rotary embedding. */
  | "running"
  /** `num_batches_tracked`: counts training steps, not on the device. */
  | "counter";

/** One entry of the state_dict, in PyTorch's order and layout. */
export interface StateEntry {
  /** Key of the entry. */
  key: string;
  /** Shape in PyTorch's layout. */
  shape: readonly number[];
  /** Kind of the entry. */
  kind: StateKind;
  /** Initial value. */
  initial: Initial;
  /** Whether a checkpoint may lack it; it then has its initial value, which is `given` or `constant`. */
  optional?: boolean;
}

/** How an initial value is drawn, as in torchvision's ResNet and `nn.Linear`. */
export type Initial =
  /** Normal with deviation sqrt(2 / fan_out): `kaiming_normal_(mode="fan_out", nonlinearity="relu")`. */
  | { draw: "kaiming_fan_out"; fanOut: number }
  | { draw: "normal"; deviation: number }
  /** Normal, what lies beyond +-`cut` (2 where it is left out) drawn again: `trunc_normal_(std=deviation)`. */
  | { draw: "truncated_normal"; deviation: number; cut?: number }
  /** Uniform within +-bound. */
  | { draw: "uniform"; bound: number }
  | { draw: "constant"; value: number }
  | { draw: "given"; values: readonly number[] };

/** A tensor on the device that is made from state_dict entries. */
export interface DeviceParameter {
  /** Tensor that the graph reads. */
  tensor: Tensor;
  /** Whether it is trained. */
  kind: Exclude<StateKind, "counter">;
  /** The entries it is made of; a folded convolution has several, a constant none. */
  keys: readonly string[];
  /** Rows of the entries that it is made of, if the whole is too large for one binding. */
  rows?: RowRange;
  /** Whether it depends on the images' size, as positions do: it is then made for each size of images. */
  bySize?: boolean;
  /** Converts the entries' values, or these rows of them, to device layout; in the order of `keys`. */
  toDevice(values: readonly Float32Array[]): Float32Array<ArrayBuffer>;
  /** Converts the device's values back to the entry's; absent if several entries were folded into one. */
  fromDevice?(device: Float32Array): Float32Array<ArrayBuffer>;
}

/** Zeros around an image, in pixels. */
export type Padding = Omit<ConvolutionAttributes, "stride">;

/** A declared convolution, or a linear layer, which is a convolution of one-pixel images. */
export interface Convolution {
  /** Prefix of its state_dict keys, before `.weight` and `.bias`. */
  readonly key: string;
  /** Shape of the weight [out, in, kh, kw]; in is 1 if depthwise. */
  readonly shape: readonly number[];
  /** Stride and padding. */
  readonly geometry: ConvolutionAttributes;
  /** Whether it has a bias. */
  readonly bias: boolean;
  /** Whether each channel has its own filter: `groups=in`. */
  readonly depthwise: boolean;
  /** Outputs whose bias is zero, whatever the state_dict says. */
  readonly zeroBias?: RowRange;
}

/** A tensor that is made of entries in a way of its own; without `fromDevice`, or of several, it cannot be trained. */
export interface MadeTensor extends Pick<DeviceParameter, "toDevice" | "fromDevice" | "bySize"> {
  /** Entries that it is made of; none of a constant, which is not trained. */
  keys: readonly string[];
  /** Whether it is a constant although it is made of entries: `EncoderBuilder.buffer()` has declared them. */
  isConstant?: boolean;
}

/** Options for {@linkcode EncoderBuilder.convolution}. */
export interface ConvolutionOptions {
  /** Channels. */
  inputs: number;
  /** Channels. */
  outputs: number;
  /** Kernel size, in pixels. */
  kernel: number;
  /** Stride. Default: 1. */
  stride?: number;
  /** Padding, the same on all sides or per side. Default: 0. */
  padding?: number | Padding;
  /** Whether it has a bias. Default: false. */
  bias?: boolean;
  /** `groups=inputs`; `outputs` is the same number. */
  depthwise?: boolean;
  /** Initialisation of the weight. Default: `kaiming_fan_out`. */
  initial?: Initial;
}

/** A declared batch norm. */
export interface BatchNorm {
  /** Prefix of its state_dict keys, before `.weight` and so on. */
  readonly key: string;
  /** Number of channels. */
  readonly channels: number;
  /** Added to the variance. */
  readonly epsilon: number;
  /** Weight of a new batch in the running statistics. */
  readonly momentum: number;
}

/** A declared layer norm. */
export interface LayerNorm {
  /** Prefix of its state_dict keys, before `.weight` and `.bias`. */
  readonly key: string;
  /** Number of channels. */
  readonly channels: number;
  /** Added to the variance. */
  readonly epsilon: number;
}

/** A declared LayerScale: a factor for each channel of what a block adds. */
export interface LayerScale {
  /** Its state_dict key. */
  readonly key: string;
  /** Number of channels. */
  readonly channels: number;
}

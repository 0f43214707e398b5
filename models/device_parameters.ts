/**
 * The parameters of an encoder on the device, made of entries of its state_dict: as they are, or at inference with what follows
 * a layer folded into it, in float64.
 */
import { type DType, elementCount, type Graph, type Tensor } from "../kernels/graph.ts";
import { padRows, unpadRows } from "../kernels/layout.ts";
import type { BatchNorm, Convolution, DeviceParameter, LayerScale } from "./encoder_layers.ts";
import { CONVOLUTION, DEPTHWISE, type RowRange, takeRows, type WeightLayout } from "./parameter_layout.ts";

/** Makes each parameter once, however often a graph reads it. */
export class DeviceParameters {
  /** All of them, in order of first use. */
  readonly all: DeviceParameter[] = [];
  readonly #graph: Graph;
  readonly #ofProducts: DType;
  /** By their label and entries: behind two batch norms, a convolution's weight is folded in two ways. */
  readonly #tensors = new Map<string, Tensor>();

  /** @param halfWeights whether the weights of products are kept in float16 */
  constructor(graph: Graph, halfWeights = false) {
    this.#graph = graph;
    this.#ofProducts = halfWeights ? "f16" : "f32";
  }

  /**
   * Returns the parameter of a label that is made of some entries; it is made where there is none yet.
   *
   * @throws {Error} where there is one of another shape
   */
  make(
    label: string,
    shape: readonly number[],
    parameter: Omit<DeviceParameter, "tensor">,
    dtype?: DType,
  ): Tensor {
    const name = [label, ...parameter.keys].join("\n");
    const known = this.#tensors.get(name);
    if (known !== undefined) {
      if (String(known.shape) === String(shape)) return known;
      throw new Error(
        `${label} is [${known.shape}] already, and cannot be [${shape}]: give tensors that differ other labels`,
      );
    }
    const tensor = this.#graph.source(label, shape, dtype);
    this.#tensors.set(name, tensor);
    this.all.push({ tensor, ...parameter });
    return tensor;
  }

  /** The weight of a layer and, where it has one, its bias: of all output channels or of some. */
  weightAndBias(layer: Convolution, rows?: RowRange): Tensor[] {
    const { key, shape, bias, zeroBias } = layer;
    const weight = this.#weight(layer, rows);
    return bias ? [weight, this.vector(`${key}.bias`, shape[0], "parameter", rows, zeroBias)] : [weight];
  }

  #weight(layer: Convolution, rows?: RowRange): Tensor {
    const [key, layout] = [`${layer.key}.weight`, layoutOf(layer)];
    const shape = [rows?.count ?? layer.shape[0], ...layer.shape.slice(1)];
    return this.make(labelOf(key, rows), layout.shape(shape), {
      kind: "parameter",
      keys: [key],
      rows,
      toDevice: ([values]) => layout.toDevice(takeRows(values, elementCount(shape.slice(1)), rows), shape),
      fromDevice: rows === undefined ? (device) => layout.fromDevice(device, shape) : undefined,
    }, this.#dtypeOf(layer));
  }

  /** A depthwise convolution is no product, and its weights are few. */
  #dtypeOf({ depthwise }: Convolution): DType {
    return depthwise ? "f32" : this.#ofProducts;
  }

  /**
   * A vector, or some of its elements.
   *
   * @param zeros elements that are zero, whatever the entry says
   */
  vector(
    key: string,
    whole: number,
    kind: DeviceParameter["kind"],
    rows?: RowRange,
    zeros?: RowRange,
  ): Tensor {
    const shape = [rows?.count ?? whole];
    return this.make(labelOf(key, rows), shape, {
      kind,
      keys: [key],
      rows,
      toDevice: ([values]) => padRows(withZeros(takeRows(values, 1, rows), rows, zeros), shape),
      fromDevice: rows === undefined ? (device) => unpadRows(device, shape) : undefined,
    });
  }

  /** An entry [..., c] as rows [n, c]. */
  rows(key: string, whole: readonly number[]): Tensor {
    const shape = [elementCount(whole.slice(0, -1)), whole.at(-1)!];
    return this.make(key, shape, {
      kind: "parameter",
      keys: [key],
      toDevice: ([values]) => padRows(values, shape),
      fromDevice: (device) => unpadRows(device, shape),
    });
  }

  /** A layer with LayerScale behind it: w' = w * gamma, b' = b * gamma. */
  scaled(layer: Convolution, scale: LayerScale, rows?: RowRange): Tensor[] {
    const { key, bias, zeroBias } = layer;
    const shape = [rows?.count ?? scale.channels, ...layer.shape.slice(1)];
    const layout = layoutOf(layer);
    const take = (values: Float32Array) => Float64Array.from(takeRows(values, 1, rows));
    const weight = this.make(labelOf(`${key}.weight`, rows), layout.shape(shape), {
      kind: "parameter",
      keys: [`${key}.weight`, scale.key],
      rows,
      toDevice: ([values, gamma]) =>
        layout.toDevice(takeRows(values, elementCount(shape.slice(1)), rows), shape, take(gamma)),
    }, this.#dtypeOf(layer));
    if (!bias) return [weight];
    return [
      weight,
      this.make(labelOf(`${key}.bias`, rows), [shape[0]], {
        kind: "parameter",
        keys: [`${key}.bias`, scale.key],
        rows,
        toDevice: ([values, gamma]) => {
          const biases = withZeros(takeRows(values, 1, rows), rows, zeroBias);
          return padRows(take(gamma).map((factor, i) => factor * biases[i]), [shape[0]]);
        },
      }),
    ];
  }

  /** A layer with batch norm behind it: w' = w * gamma / s, b' = beta + (b - mean) * gamma / s, s = sqrt(variance + epsilon). */
  folded(convolution: Convolution, norm: BatchNorm, rows?: RowRange): Tensor[] {
    const shape = [rows?.count ?? norm.channels, ...convolution.shape.slice(1)];
    const layout = layoutOf(convolution);
    const take = (values: Float32Array) => takeRows(values, 1, rows);
    const scaleOf = (gamma: Float32Array, variance: Float32Array) => {
      const deviations = take(variance);
      return Float64Array.from(take(gamma), (value, i) => value / Math.sqrt(deviations[i] + norm.epsilon));
    };
    const ownBias = convolution.bias ? [`${convolution.key}.bias`] : [];
    const weight = this.make(labelOf(`${convolution.key}.weight`, rows), layout.shape(shape), {
      kind: "parameter",
      keys: [`${convolution.key}.weight`, `${norm.key}.weight`, `${norm.key}.running_var`],
      rows,
      toDevice: ([values, gamma, variance]) =>
        layout.toDevice(
          takeRows(values, elementCount(shape.slice(1)), rows),
          shape,
          scaleOf(gamma, variance),
        ),
    }, this.#dtypeOf(convolution));
    const bias = this.make(labelOf(`${norm.key}.bias`, rows), [shape[0]], {
      kind: "parameter",
      keys: [
        ...["bias", "running_mean", "weight", "running_var"].map((name) => `${norm.key}.${name}`),
        ...ownBias,
      ],
      rows,
      toDevice: ([beta, mean, gamma, variance, own]) => {
        const scale = scaleOf(gamma, variance);
        const [means, owns] = [take(mean), own === undefined ? undefined : take(own)];
        const shifted = Float64Array.from(
          take(beta),
          (value, i) => value + ((owns?.[i] ?? 0) - means[i]) * scale[i],
        );
        return padRows(shifted, [shape[0]]);
      },
    });
    return [weight, bias];
  }
}

/** Values of some rows, or all, with zero in the place of some. */
function withZeros(
  values: Float32Array,
  rows: RowRange | undefined,
  zeros: RowRange | undefined,
): Float32Array {
  if (zeros === undefined) return values;
  const first = zeros.first - (rows?.first ?? 0);
  return values.map((value, i) => i >= first && i < first + zeros.count ? 0 : value);
}

function layoutOf({ depthwise }: Convolution): WeightLayout {
  return depthwise ? DEPTHWISE : CONVOLUTION;
}

function labelOf(key: string, rows: RowRange | undefined): string {
  return rows === undefined ? key : `${key}[${rows.first}:${rows.first + rows.count}]`;
}

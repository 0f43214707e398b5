/**
 * Runs this project's graphs with TensorFlow.js, op by op, so that any encoder can be compared with the same layers there:
 * forward alone, or with tfjs's own gradients behind it.
 */
import * as tf from "@tensorflow/tfjs-core";
import { type Graph, type Node, padTo4, type Tensor } from "../kernels/graph.ts";
import { unpadRows } from "../kernels/layout.ts";
import type { Activation } from "../kernels/ops/activation/activation.ts";
import type { ScaleChannelsAttributes } from "../kernels/ops/scale_channels/scale_channels.ts";
import { liveNodes } from "../kernels/schedule.ts";

/** Values by the id of our tensor; statistics are mean and variance. */
type Values = Map<number, tf.Tensor | { mean: tf.Tensor1D; variance: tf.Tensor1D }>;

const hardSigmoid = (z: tf.Tensor): tf.Tensor => tf.div(tf.clipByValue(tf.add(z, 3), 0, 6), 6);

const ACTIVATIONS: Readonly<Record<Activation, (z: tf.Tensor) => tf.Tensor>> = {
  relu: tf.relu,
  sigmoid: tf.sigmoid,
  hard_sigmoid: hardSigmoid,
  swish: (z) => tf.mul(z, tf.sigmoid(z)),
  hard_swish: (z) => tf.mul(z, hardSigmoid(z)),
  gelu: (z) => tf.mul(tf.mul(z, 0.5), tf.add(tf.erf(tf.mul(z, Math.SQRT1_2)), 1)),
};

function activate(z: tf.Tensor, activation: Activation | undefined): tf.Tensor {
  return activation === undefined ? z : ACTIVATIONS[activation](z);
}

interface Padded {
  stride: number;
  padTop: number;
  padLeft: number;
  padBottom: number;
  padRight: number;
  activation?: Activation;
  bias?: boolean;
  addend?: boolean;
}

/** Padding as tfjs takes it: the same on all sides as a number; else the image is padded first. */
function pad(x: tf.Tensor4D, { padTop, padLeft, padBottom, padRight }: Padded): [tf.Tensor4D, number] {
  if (padTop === padLeft && padTop === padBottom && padTop === padRight) return [x, padTop];
  return [tf.pad(x, [[0, 0], [padTop, padBottom], [padLeft, padRight], [0, 0]]), 0];
}

/** Side of a square pooling window, its stride and padding. */
type Pool = { kernel: number; stride: number; padding: number };

type Run = (inputs: tf.Tensor[], attributes: never, values: Values, node: Node) => tf.Tensor;

const finish = (y: tf.Tensor, extra: tf.Tensor[], { bias, addend, activation }: Padded): tf.Tensor => {
  const [first, second] = extra;
  if (bias) y = tf.add(y, first);
  if (addend) y = tf.add(y, bias ? second : first);
  return activate(y, activation);
};

const OPS: Readonly<Record<string, Run>> = {
  conv2d([x, w, ...extra], attributes: Padded) {
    const [padded, padding] = pad(x as tf.Tensor4D, attributes);
    const { stride } = attributes;
    const y = tf.conv2d(
      padded,
      w as tf.Tensor4D,
      stride,
      padding,
      "NHWC",
      1,
      padding === 0 ? undefined : "floor",
    );
    return finish(y, extra, attributes);
  },
  depthwise_conv2d([x, w, ...extra], attributes: Padded) {
    const [padded, padding] = pad(x as tf.Tensor4D, attributes);
    const { stride } = attributes;
    const rounding = padding === 0 ? undefined : "floor";
    const y = tf.depthwiseConv2d(padded, w as tf.Tensor4D, stride, padding, "NHWC", 1, rounding);
    return finish(y, extra, attributes);
  },
  batch_norm(
    [x, gamma, beta, , residual],
    { epsilon, activation }: { epsilon: number; activation?: Activation },
    values,
    node,
  ) {
    const { mean, variance } = values.get(node.inputs[3].id) as { mean: tf.Tensor1D; variance: tf.Tensor1D };
    const y = tf.batchNorm4d(
      x as tf.Tensor4D,
      mean,
      variance,
      beta as tf.Tensor1D,
      gamma as tf.Tensor1D,
      epsilon,
    );
    return activate(residual === undefined ? y : tf.add(y, residual), activation);
  },
  activate: ([x], { activation }: { activation: Activation }) => activate(x, activation),
  add: ([a, b]) => tf.add(a, b),
  scale_channels: ([x, scale], { gate, activation }: ScaleChannelsAttributes) =>
    activate(tf.mul(x, activate(scale, gate)), activation),
  global_average_pool: ([x]) => tf.mean(x, [1, 2], true),
  max_pool: ([x], { kernel, stride, padding }: Pool) =>
    tf.maxPool(x as tf.Tensor4D, kernel, stride, padding, padding === 0 ? undefined : "floor"),
  l2_normalize: ([x]) => tf.div(x, tf.norm(x, 2, -1, true)),
};

/**
 * The outputs of a graph.
 *
 * @param given values of its inputs and parameters, as {@linkcode toTfjs} makes them
 * @throws {Error} for an op that no encoder had when this was written
 */
export function runWithTfjs(
  graph: Graph,
  outputs: readonly Tensor[],
  given: ReadonlyMap<Tensor, tf.Tensor>,
): tf.Tensor[] {
  const values: Values = new Map([...given].map(([tensor, value]) => [tensor.id, value]));
  for (const node of liveNodes(graph, outputs)) {
    const inputs = node.inputs.map(({ id }) => values.get(id) as tf.Tensor);
    if (node.op.name === "batch_statistics") {
      values.set(
        node.outputs[0].id,
        tf.moments(inputs[0], [0, 1, 2]) as { mean: tf.Tensor1D; variance: tf.Tensor1D },
      );
      continue;
    }
    const run = OPS[node.op.name];
    if (run === undefined) throw new Error(`tfjs_graph.ts does not know the op ${node.op.name}`);
    values.set(node.outputs[0].id, run(inputs, node.attributes as never, values, node));
  }
  return outputs.map(({ id }) => values.get(id) as tf.Tensor);
}

/**
 * A parameter's value in tfjs's layout: [kh, kw, in, out], [kh, kw, channels, 1] or [channels].
 *
 * @param device its value in this project's layout
 * @param inputs input channels that the weight has without padding
 */
export function toTfjs({ shape }: Tensor, device: Float32Array, inputs: number | undefined): tf.Tensor {
  const values = unpadRows(device, shape);
  if (shape.length === 3) return tf.tensor(values, [...shape, 1]);
  if (shape.length !== 4 || inputs === undefined || padTo4(inputs) === inputs) {
    return tf.tensor(values, [...shape]);
  }
  return tf.tidy(() =>
    tf.slice(tf.tensor(values, [...shape]), [0, 0, 0, 0], [shape[0], shape[1], inputs, shape[3]])
  );
}

/** Input channels of every convolution's weight, by the weight. */
export function inputChannels(graph: Graph): Map<Tensor, number> {
  return new Map(
    graph.nodes.filter(({ op }) => op.name === "conv2d").map(({ inputs: [x, w] }) => [w, x.shape[3]]),
  );
}

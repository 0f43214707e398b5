/** The same work with TensorFlow.js and its WebGPU backend. */
import * as tf from "@tensorflow/tfjs-core";
// The core alone knows no gradients; the whole package registers them.
import "@tensorflow/tfjs";
import { WebGPUBackend } from "@tensorflow/tfjs-backend-webgpu";
import { initializeQueue, type StateValues } from "../models/initialize.ts";
import { IMAGENET_NORMALIZATION } from "../models/images.ts";
import type { Contestant, Results } from "./measure.ts";
import type { ConvolutionShape } from "./shapes.ts";
import { COMPARED_GRADIENTS, outputSide } from "./shapes.ts";

const NAME = "tfjs";

/** Opens the backend on a device of its own, on the adapter that everybody gets. */
export async function openTfjs(): Promise<void> {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const { limits } = adapter;
  const device = await adapter.requestDevice({
    requiredLimits: {
      maxBufferSize: limits.maxBufferSize,
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
      maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
      maxComputeWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
    },
  });
  tf.removeBackend("webgpu"); // the one that looks for a browser
  tf.registerBackend("webgpu", () => new WebGPUBackend(device, adapter.info));
  await tf.setBackend("webgpu");
  await tf.ready();
}

/** Runs `work` and keeps its tensors, by what they are, until the next run. */
function contestant(work: () => Record<string, tf.Tensor>): Contestant {
  let kept: Record<string, tf.Tensor> = {};
  const drop = () => tf.dispose(kept);
  return {
    name: NAME,
    run() {
      drop();
      kept = tf.tidy(work);
    },
    // All is on one queue, so that one value of the last result waits for everything.
    async finish() {
      const value = tf.tidy(() => tf.slice(tf.reshape(Object.values(kept).at(-1)!, [-1]), 0, 1));
      await value.data();
      value.dispose();
    },
    async result() {
      const results: Results = {};
      for (const [name, tensor] of Object.entries(kept)) results[name] = await tensor.data();
      return results;
    },
    dispose: drop,
  };
}

/** a [size, size] times b [size, size]. */
export function product(size: number, a: Float32Array, b: Float32Array): Contestant {
  const [x, y] = [a, b].map((values) => tf.tensor2d(values, [size, size]));
  return contestant(() => ({ product: tf.matMul(x, y) }));
}

/** The convolution, and with `training` both gradients by the backend's own kernels for them. */
export function convolution(
  shape: ConvolutionShape,
  values: Record<"x" | "w" | "dy", Float32Array>,
  training: boolean,
): Contestant {
  const { n, side, inputs, outputs, kernel, stride, padding } = shape;
  const out = outputSide(shape);
  const x = tf.tensor4d(values.x, [n, side, side, inputs]);
  const w = tf.tensor4d(values.w, [kernel, kernel, inputs, outputs]);
  const dy = tf.tensor4d(values.dy, [n, out, out, outputs]);
  const attributes = { strides: stride, pad: padding, dataFormat: "NHWC", dimRoundingMode: "floor" };
  const run = (name: string, tensors: Record<string, tf.Tensor>, more: Record<string, unknown>) =>
    tf.engine().runKernel(name, tensors, { ...attributes, ...more } as never) as tf.Tensor;
  return contestant((): Record<string, tf.Tensor> => {
    const y = tf.conv2d(x, w, stride, padding, "NHWC", 1, "floor");
    if (!training) return { y };
    const dw = run("Conv2DBackpropFilter", { x, dy }, { filterShape: w.shape });
    const dx = run("Conv2DBackpropInput", { dy, filter: w }, { inputShape: x.shape });
    return { y, dx, dw };
  });
}

type Weights = Map<string, tf.Variable>;

/** PyTorch's layouts to TensorFlow's: OIHW to HWIO, [out, in] to [in, out]. */
function toVariables(values: StateValues, trainable: boolean): Weights {
  const shapes = new Map<string, number[]>();
  const channels = [64, 128, 256, 512];
  for (const [key, { length }] of values) {
    const fc = /^fc\.(\d)\.weight$/.exec(key);
    if (fc !== null) shapes.set(key, [length / 512, 512]);
    else if (key === "conv1.weight") shapes.set(key, [64, 3, 7, 7]);
    else if (/conv\d\.weight|downsample\.0\.weight/.test(key)) {
      const [, stage, block] = /^layer(\d)\.(\d)/.exec(key)!.map(Number);
      const out = channels[stage - 1];
      const isFirst = block === 0 && (key.includes("conv1") || key.includes("downsample"));
      const input = isFirst && stage > 1 ? channels[stage - 2] : out;
      const side = key.includes("downsample") ? 1 : 3;
      shapes.set(key, [out, input, side, side]);
    } else shapes.set(key, [length]);
  }
  return new Map([...values].map(([key, data]) => {
    const shape = shapes.get(key)!;
    const tensor = tf.tensor(data, shape);
    const turned = shape.length === 4
      ? tf.transpose(tensor, [2, 3, 1, 0])
      : shape.length === 2
      ? tf.transpose(tensor, [1, 0])
      : tensor;
    return [key, tf.variable(turned, trainable)];
  }));
}

/** ResNet-18 with SEED's head: images [n, h, w, 3] to L2-normalised embeddings [n, 128]. */
function resnet18(weights: Weights, images: tf.Tensor4D, training: boolean): tf.Tensor2D {
  const w = <T extends tf.Tensor>(key: string) => weights.get(key)! as unknown as T;
  const convolve = (x: tf.Tensor4D, key: string, stride: number, padding: number) =>
    tf.conv2d(x, w<tf.Tensor4D>(`${key}.weight`), stride, padding, "NHWC", 1, "floor");
  const normalize = (x: tf.Tensor4D, key: string) => {
    const statistics = training ? tf.moments(x, [0, 1, 2]) : {
      mean: w<tf.Tensor1D>(`${key}.running_mean`),
      variance: w<tf.Tensor1D>(`${key}.running_var`),
    };
    return tf.batchNorm4d(
      x,
      statistics.mean as tf.Tensor1D,
      statistics.variance as tf.Tensor1D,
      w<tf.Tensor1D>(`${key}.bias`),
      w<tf.Tensor1D>(`${key}.weight`),
      1e-5,
    );
  };
  let x = tf.relu(normalize(convolve(images, "conv1", 2, 3), "bn1"));
  x = tf.maxPool(x, 3, 2, 1, "floor");
  for (let stage = 1; stage <= 4; stage++) {
    for (let i = 0; i < 2; i++) {
      const key = `layer${stage}.${i}`;
      const stride = stage > 1 && i === 0 ? 2 : 1;
      const shortcut = stride === 1
        ? x
        : normalize(convolve(x, `${key}.downsample.0`, 2, 0), `${key}.downsample.1`);
      const y = tf.relu(normalize(convolve(x, `${key}.conv1`, stride, 1), `${key}.bn1`));
      x = tf.relu(tf.add(normalize(convolve(y, `${key}.conv2`, 1, 1), `${key}.bn2`), shortcut));
    }
  }
  const feature = tf.mean(x, [1, 2]) as tf.Tensor2D;
  const linear = (a: tf.Tensor2D, key: string) =>
    tf.add(tf.matMul(a, w<tf.Tensor2D>(`${key}.weight`)), w<tf.Tensor1D>(`${key}.bias`)) as tf.Tensor2D;
  const embedding = linear(tf.relu(linear(feature, "fc.0")), "fc.2");
  return tf.div(embedding, tf.norm(embedding, 2, 1, true));
}

/** TensorFlow's layouts back to PyTorch's. */
function fromVariable(tensor: tf.Tensor): tf.Tensor {
  return tf.transpose(tensor, tensor.rank === 4 ? [3, 2, 0, 1] : tensor.rank === 2 ? [1, 0] : [0]);
}

/** One distillation step; running statistics and the queue's update are left out, in tfjs's favour. */
export function distillationStep(
  { batch, imageSize, queueSize, pixels, student, teacher, learningRate }: {
    batch: number;
    imageSize: number;
    queueSize: number;
    pixels: Uint8Array;
    student: StateValues;
    teacher: StateValues;
    learningRate: number;
  },
): Contestant {
  const { mean, deviation } = IMAGENET_NORMALIZATION;
  const values = new Float32Array(batch * imageSize * imageSize * 3);
  for (let i = 0; i < values.length; i++) {
    const channel = i % 3;
    values[i] = (pixels[Math.floor(i / 3) * 4 + channel] / 255 - mean[channel]) / deviation[channel];
  }
  const images = tf.tensor4d(values, [batch, imageSize, imageSize, 3]);
  const queue = tf.tensor2d(initializeQueue(queueSize, 128, 1), [queueSize, 128]);
  const students = toVariables(student, true);
  const teachers = toVariables(teacher, false);
  const isTrained = (key: string) => !key.includes("running");
  const trained = [...students].filter(([key]) => isTrained(key)).map(([, variable]) => variable);
  const optimizer = tf.train.momentum(learningRate, 0.9);
  const similarities = (a: tf.Tensor2D, own: tf.Tensor2D) =>
    tf.concat([tf.sum(tf.mul(a, own), 1, true), tf.matMul(a, queue, false, true)], 1) as tf.Tensor2D;
  let loss: tf.Scalar | undefined;
  return {
    name: NAME,
    async run() {
      loss?.dispose();
      loss = tf.tidy(() => {
        const keys = resnet18(teachers, images, false);
        const wanted = tf.softmax(tf.div(similarities(keys, keys), 0.01) as tf.Tensor2D);
        return optimizer.minimize(
          () => {
            const logits = tf.div(similarities(resnet18(students, images, true), keys), 0.2) as tf.Tensor2D;
            return tf.neg(tf.mean(tf.sum(tf.mul(wanted, tf.logSoftmax(logits)), 1))) as tf.Scalar;
          },
          true,
          trained,
        )!;
      });
      await loss.data();
    },
    finish: () => Promise.resolve(), // `run` waits for the loss
    async result() {
      const results: Results = { loss: await loss!.data() };
      const momentum = new Map((await optimizer.getWeights()).map(({ name, tensor }) => [name, tensor]));
      for (const key of Object.keys(COMPARED_GRADIENTS)) {
        const own = momentum.get(`${students.get(key)!.name}/momentum`)!;
        const turned = tf.tidy(() => fromVariable(own));
        results[key] = await turned.data();
        turned.dispose();
      }
      return results;
    },
    dispose() {
      tf.dispose([images, queue, ...students.values(), ...teachers.values()]);
      optimizer.dispose();
    },
  };
}

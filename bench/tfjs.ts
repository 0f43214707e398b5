/** The same work with TensorFlow.js and its WebGPU backend. */
import * as tf from "@tensorflow/tfjs-core";
// The core alone knows no gradients; the whole package registers them.
import "@tensorflow/tfjs";
import { WebGPUBackend } from "@tensorflow/tfjs-backend-webgpu";
import type { Contestant, Results } from "./measure.ts";
import type { ConvolutionShape } from "./shapes.ts";
import { outputSide } from "./shapes.ts";

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

/** Attention of queries, keys and values, each [heads, tokens, d], with a matrix of scores. */
export function attention(shape: [number, number, number], values: readonly Float32Array[]): Contestant {
  const [q, k, v] = values.map((part) => tf.tensor3d(part, shape));
  const scale = 1 / Math.sqrt(shape[2]);
  return contestant(() => ({
    y: tf.matMul(tf.softmax(tf.mul(tf.matMul(q, k, false, true), scale)), v),
  }));
}

/** The convolution, and with `training` both gradients by the backend's own kernels for them. */
export function convolution(
  shape: ConvolutionShape,
  values: Record<"x" | "w" | "dy", Float32Array>,
  training: boolean,
): Contestant {
  const { n, side, inputs, outputs, kernel, stride, padding, depthwise } = shape;
  const out = outputSide(shape);
  const x = tf.tensor4d(values.x, [n, side, side, inputs]);
  const w = tf.tensor4d(values.w, [kernel, kernel, inputs, depthwise ? 1 : outputs]);
  const dy = tf.tensor4d(values.dy, [n, out, out, outputs]);
  const attributes = { strides: stride, pad: padding, dataFormat: "NHWC", dimRoundingMode: "floor" };
  const run = (name: string, tensors: Record<string, tf.Tensor>, more: Record<string, unknown>) =>
    tf.engine().runKernel(name, tensors, { ...attributes, ...more } as never) as tf.Tensor;
  return contestant((): Record<string, tf.Tensor> => {
    const y = depthwise
      ? tf.depthwiseConv2d(x, w, stride, padding, "NHWC", 1, "floor")
      : tf.conv2d(x, w, stride, padding, "NHWC", 1, "floor");
    if (!training) return { y };
    const [filter, input] = depthwise
      ? ["DepthwiseConv2dNativeBackpropFilter", "DepthwiseConv2dNativeBackpropInput"]
      : ["Conv2DBackpropFilter", "Conv2DBackpropInput"];
    const dw = run(filter, { x, dy }, { filterShape: w.shape, dilations: 1 });
    const dx = run(input, { dy, filter: w }, { inputShape: x.shape, dilations: 1 });
    return { y, dx, dw };
  });
}

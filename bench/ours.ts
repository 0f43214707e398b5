/** This project's side of the comparison. */
import type { MultiplyAdds } from "../kernels/ceilings.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { readBuffer } from "../kernels/readback.ts";
import { Graph, padTo4, type Tensor } from "../kernels/graph.ts";
import { padRows, unpadRows } from "../kernels/layout.ts";
import { conv2d, conv2dInputGradient, conv2dWeightGradient } from "../kernels/ops/conv2d/conv2d.ts";
import {
  depthwiseConv2d,
  depthwiseConv2dInputGradient,
  depthwiseConv2dWeightGradient,
} from "../kernels/ops/depthwise_conv2d/depthwise_conv2d.ts";
import { POINTWISE } from "../kernels/ops/conv2d/geometry.ts";
import { Program } from "../kernels/program.ts";
import type { Contestant, Results, Timed } from "./measure.ts";
import { type ConvolutionShape, outputSide } from "./shapes.ts";

/** Dispatches that are submitted together at least, in one pass, as tfjs does it; of a training step all are. */
const SUBMITTED_TOGETHER = 15;

/** Compiles a graph whose run is what is timed, with its outputs by name. */
export async function contestant(
  gpu: Gpu,
  graph: Graph,
  inputs: readonly (readonly [Tensor, Float32Array<ArrayBuffer>])[],
  outputs: Readonly<Record<string, Tensor>>,
): Promise<Contestant> {
  const program = await Program.compile(gpu, {
    label: "ours",
    graph,
    inputs: inputs.map(([tensor]) => tensor),
    outputs: Object.values(outputs),
  });
  const last = Object.values(outputs).at(-1)!;
  for (const [tensor, values] of inputs) program.write(tensor, values);
  let encoder: GPUCommandEncoder | undefined;
  let pass: GPUComputePassEncoder | undefined;
  let dispatches = 0;
  const submit = () => {
    if (encoder === undefined) return;
    pass?.end();
    pass = undefined;
    gpu.device.queue.submit([encoder.finish()]);
    gpu.check();
    encoder = undefined;
    dispatches = 0;
  };
  return {
    name: "ours",
    run() {
      encoder ??= gpu.device.createCommandEncoder({ label: "ours" });
      pass = program.encodeOnto(encoder, pass);
      dispatches += program.dispatches;
      if (dispatches >= SUBMITTED_TOGETHER) submit();
    },
    async finish() {
      submit();
      await readBuffer(gpu, program.rangeOf(last).buffer, 0, 16);
    },
    async result() {
      submit();
      const results: Results = {};
      for (const [name, tensor] of Object.entries(outputs)) {
        results[name] = unpadRows(await program.read(tensor), tensor.shape);
      }
      return results;
    },
    dispose: () => program.destroy(),
  };
}

/** a [size, size] times b [size, size]. */
export function product(gpu: Gpu, size: number, a: Float32Array, b: Float32Array): Promise<Contestant> {
  const graph = new Graph();
  const x = graph.source("a", [size, 1, 1, size]);
  const w = graph.source("b", [1, 1, size, size]);
  const y = graph.apply(conv2d, [x, w], POINTWISE);
  return contestant(gpu, graph, [[x, a.slice()], [w, b.slice()]], { product: y });
}

/** The kernel of a ceiling, with as many workgroups as it was measured with. */
export function multiplyAdds(gpu: Gpu, { encode, workgroups }: MultiplyAdds, name: string): Timed {
  const { queue } = gpu.device;
  return {
    name,
    run() {
      const encoder = gpu.device.createCommandEncoder({ label: name });
      const pass = encoder.beginComputePass();
      encode(pass, workgroups);
      pass.end();
      queue.submit([encoder.finish()]);
    },
    finish: () => gpu.wait(queue.onSubmittedWorkDone()),
  };
}

/** The convolution, and with `training` both gradients. */
export async function convolution(
  gpu: Gpu,
  shape: ConvolutionShape,
  { x, w, dy }: Record<"x" | "w" | "dy", Float32Array>,
  training: boolean,
): Promise<Contestant> {
  if (shape.depthwise) return await depthwiseConvolution(gpu, shape, { x, w, dy }, training);
  const { n, side, inputs, outputs, kernel, stride, padding } = shape;
  const out = outputSide(shape);
  const geometry = { stride, padTop: padding, padLeft: padding, padBottom: padding, padRight: padding };
  const graph = new Graph();
  const xs = graph.source("x", [n, side, side, inputs]);
  const ws = graph.source("w", [kernel, kernel, padTo4(inputs), outputs]);
  const dys = graph.source("dy", [n, out, out, outputs]);
  const y = graph.apply(conv2d, [xs, ws], geometry);
  const dx = graph.apply(conv2dInputGradient, [dys, ws], { ...geometry, like: xs.shape });
  const dw = graph.apply(conv2dWeightGradient, [xs, dys], { ...geometry, like: ws.shape });
  const padded = new Float32Array(kernel * kernel * padTo4(inputs) * outputs);
  for (let tap = 0; tap < kernel * kernel; tap++) {
    padded.set(
      w.subarray(tap * inputs * outputs, (tap + 1) * inputs * outputs),
      tap * padTo4(inputs) * outputs,
    );
  }
  const values: [Tensor, Float32Array<ArrayBuffer>][] = [[xs, padRows(x, xs.shape)], [ws, padded]];
  if (!training) return contestant(gpu, graph, values, { y });
  const made = await contestant(gpu, graph, [...values, [dys, padRows(dy, dys.shape)]], { y, dx, dw });
  const tapLength = padTo4(inputs) * outputs;
  return {
    ...made,
    // The weight's rows of padded input channels are not part of the result.
    async result() {
      const results = await made.result();
      const whole = results.dw as Float32Array;
      const kept = new Float32Array(kernel * kernel * inputs * outputs);
      for (let tap = 0; tap < kernel * kernel; tap++) {
        kept.set(whole.subarray(tap * tapLength, tap * tapLength + inputs * outputs), tap * inputs * outputs);
      }
      return { ...results, dw: kept };
    },
  };
}

async function depthwiseConvolution(
  gpu: Gpu,
  shape: ConvolutionShape,
  { x, w, dy }: Record<"x" | "w" | "dy", Float32Array>,
  training: boolean,
): Promise<Contestant> {
  const { n, side, inputs, kernel, stride, padding } = shape;
  const out = outputSide(shape);
  const geometry = { stride, padTop: padding, padLeft: padding, padBottom: padding, padRight: padding };
  const graph = new Graph();
  const xs = graph.source("x", [n, side, side, inputs]);
  const ws = graph.source("w", [kernel, kernel, inputs]);
  const dys = graph.source("dy", [n, out, out, inputs]);
  const y = graph.apply(depthwiseConv2d, [xs, ws], geometry);
  const dx = graph.apply(depthwiseConv2dInputGradient, [dys, ws], { ...geometry, like: xs.shape });
  const dw = graph.apply(depthwiseConv2dWeightGradient, [xs, dys], { ...geometry, like: ws.shape });
  const pairs = ([[xs, x], [ws, w], [dys, dy]] as const).map(([tensor, values]) =>
    [tensor, padRows(values, tensor.shape)] as const
  );
  return await contestant(gpu, graph, training ? pairs : pairs.slice(0, 2), training ? { y, dx, dw } : { y });
}

/** The same work with jax-js and its WebGPU backend, compiled by `jit`. Arrays there are owned: `.ref` keeps one. */
import * as jax from "@jax-js/jax";
import type { Contestant, Results } from "./measure.ts";
import { type ConvolutionShape, outputSide } from "./shapes.ts";

type JaxArray = ReturnType<typeof jax.numpy.zeros>;

/** Opens the backend. */
export async function openJax(): Promise<void> {
  await jax.init("webgpu");
  jax.defaultDevice("webgpu");
}

/** @param show turns each result, by its name, into the layout that is compared */
function contestant(
  work: () => JaxArray[],
  show: Record<string, (array: JaxArray) => JaxArray>,
): Contestant {
  let kept: JaxArray[] = [];
  const drop = () => {
    for (const array of kept) array.dispose();
  };
  return {
    name: "jax-js",
    async run() {
      drop();
      kept = work();
      // Work is lazy, and cancelled when its result is disposed of before anybody asked for it: asking for the
      // buffer submits it without waiting.
      await Promise.all(kept.map((array) => array.ref.gpuBuffer()));
    },
    // All is on one queue, so that one value of the last result waits for everything.
    finish: async () => void await kept.at(-1)!.ref.ravel().slice([0, 1]).data(),
    async result() {
      const results: Results = {};
      for (const [i, [name, turn]] of Object.entries(show).entries()) {
        results[name] = await turn(kept[i].ref).data();
      }
      return results;
    },
    dispose: drop,
  };
}

function toArray(values: Float32Array, shape: readonly number[]): JaxArray {
  return jax.numpy.array(values.slice()).reshape([...shape]);
}

/** a [size, size] times b [size, size]. */
export function product(size: number, a: Float32Array, b: Float32Array): Contestant {
  const [x, y] = [a, b].map((values) => toArray(values, [size, size]));
  const multiply = jax.jit((p: JaxArray, q: JaxArray) => jax.numpy.matmul(p, q));
  return contestant(() => [multiply(x.ref, y.ref)], { product: (array) => array });
}

/** The convolution (NCHW, as jax-js has it), and with `training` both gradients. */
export function convolution(
  shape: ConvolutionShape,
  values: Record<"x" | "w" | "dy", Float32Array>,
  training: boolean,
): Contestant {
  const { n, side, inputs, outputs, kernel, stride, padding, depthwise } = shape;
  const out = outputSide(shape);
  const planes = (data: Float32Array, size: number, channels: number) =>
    toArray(data, [n, size, size, channels]).transpose([0, 3, 1, 2]);
  const x = planes(values.x, side, inputs);
  const dy = planes(values.dy, out, outputs);
  const w = depthwise
    ? toArray(values.w, [kernel, kernel, 1, inputs]).transpose([3, 2, 0, 1])
    : toArray(values.w, [kernel, kernel, inputs, outputs]).transpose([3, 2, 0, 1]);
  // The sides that a stride of two leaves over at the end are not convolved, as elsewhere.
  const convolve = (a: JaxArray, b: JaxArray) =>
    jax.lax.convGeneralDilated(a, b, [stride, stride], [[padding, padding], [padding, padding]], {
      featureGroupCount: depthwise ? inputs : 1,
    });
  const forward = jax.jit(convolve);
  const train = jax.jit((a: JaxArray, b: JaxArray, d: JaxArray): JaxArray[] => {
    const [y, backward] = jax.vjp(convolve, [a, b]);
    const [da, db] = backward(d);
    return [y, da, db];
  });
  const channelsLast = (array: JaxArray) => array.transpose([0, 2, 3, 1]);
  return training
    ? contestant(() => train(x.ref, w.ref, dy.ref), {
      y: channelsLast,
      dx: channelsLast,
      dw: (array) => array.transpose([2, 3, 1, 0]),
    })
    : contestant(() => [forward(x.ref, w.ref)], { y: channelsLast });
}

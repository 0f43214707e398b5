import { elementCount } from "../../../kernels/graph.ts";
import { globalAveragePool } from "../../../kernels/ops/global_average_pool/global_average_pool.ts";
import type { Activation } from "../../../kernels/ops/activation/activation.ts";
import {
  scaleChannels,
  type ScaleChannelsAttributes,
} from "../../../kernels/ops/scale_channels/scale_channels.ts";
import { IS_LONG } from "../../long.ts";
import { checkOp, KINDS, randomValues, withGpu } from "../check_op.ts";
import { ACTIVATION_FUNCTIONS } from "./activation_functions.ts";

function reference(
  [, h, w, c]: readonly number[],
  { gate, activation }: ScaleChannelsAttributes,
  x: Float64Array,
  scale: Float64Array,
): Float64Array {
  const functionOf = (which?: Activation) =>
    which === undefined ? (z: number) => z : ACTIVATION_FUNCTIONS[which];
  const [gated, activated] = [scale.map(functionOf(gate)), functionOf(activation)];
  const y = new Float64Array(x.length); // by a plain loop: differences take it thousands of times
  for (let i = 0; i < y.length; i++) y[i] = activated(x[i] * gated[Math.floor(i / (h * w * c)) * c + i % c]);
  return y;
}

const ATTRIBUTES: readonly ScaleChannelsAttributes[] = [
  {},
  { activation: "relu" },
  { gate: "sigmoid" },
  { gate: "hard_sigmoid", activation: "hard_swish" },
  { gate: "sigmoid", activation: "swish" },
];
const SHAPES = [[1, 1, 1, 1], [3, 2, 3, 3], [2, 5, 4, 17], [1, 23, 24, 5], [2, 5, 4, 70], [1, 2, 1, 1040]];
for (const [[kind, as], shape] of KINDS.flatMap((kind) => SHAPES.map((shape) => [kind, shape] as const))) {
  for (const attributes of ATTRIBUTES) {
    if (elementCount(shape) > 1000 && attributes.activation !== "swish") continue; // seconds, once
    const title = `scaleChannels [${shape}], ${kind}, ${JSON.stringify(attributes)}`;
    // Every gate and activation with one shape, and every shape with the last of them.
    const ignore = !IS_LONG && shape !== SHAPES[1] && attributes !== ATTRIBUTES.at(-1);
    Deno.test(`${title} equals a float64 loop, and so do its gradients`, { ignore }, () =>
      withGpu((gpu) => {
        const [n, , , c] = shape;
        return checkOp(as(gpu), {
          name: `[${shape}] ${JSON.stringify(attributes)}`,
          inputs: [
            { shape, values: randomValues("x", shape, 3), gradient: true },
            { shape: [n, 1, 1, c], values: randomValues("scale", [n, 1, 1, c], 3), gradient: true },
          ],
          build: (graph, [x, scale]) => graph.apply(scaleChannels, [x, scale], attributes),
          reference: (x, scale) => reference(shape, attributes, x, scale),
        });
      }));
  }
}

// For GPUs each image is in two parts. Differences by every x would take minutes; what x gets is seen by the factors in
// front of it.
for (const [kind, as] of KINDS) {
  Deno.test(`scaleChannels of many pixels, ${kind}, equals a float64 loop, and so do its gradients`, () =>
    withGpu((gpu) => {
      const shape = [2, 64, 32, 5];
      const factors = [2, 1, 1, 5];
      const attributes = { gate: "sigmoid", activation: "swish" } as const;
      return checkOp(as(gpu), {
        name: "many pixels",
        inputs: [
          { shape, values: randomValues("x", shape, 3) },
          { shape: factors, values: randomValues("before", factors), gradient: true },
          { shape: factors, values: randomValues("scale", factors, 3), gradient: true },
        ],
        build: (graph, [x, before, scale]) =>
          graph.apply(scaleChannels, [graph.apply(scaleChannels, [x, before], {}), scale], attributes),
        reference: (x, before, scale) => reference(shape, attributes, reference(shape, {}, x, before), scale),
      });
    }));
}

// x meets itself again in the gradient of its mean, which is added where that is written.
for (
  const [[kind, as], shape] of KINDS.flatMap((kind) =>
    [SHAPES[1], SHAPES[3]].map((shape) => [kind, shape] as const)
  )
) {
  Deno.test(`scaleChannels [${shape}] by its own globalAveragePool, ${kind}, equals a float64 loop, and so does its gradient`, () =>
    withGpu((gpu) => {
      const [n, h, w, c] = shape;
      return checkOp(as(gpu), {
        name: `[${shape}] by its own mean`,
        inputs: [{ shape, values: randomValues("x", shape), gradient: true }],
        build: (graph, [x]) => graph.apply(scaleChannels, [x, graph.apply(globalAveragePool, [x], {})], {}),
        reference: (x) => {
          const channelOf = (i: number) => Math.floor(i / (h * w * c)) * c + i % c;
          const mean = new Float64Array(n * c);
          for (const [i, value] of x.entries()) mean[channelOf(i)] += value / (h * w);
          return x.map((value, i) => value * mean[channelOf(i)]);
        },
      });
    }));
}

import { elementCount } from "../../../kernels/graph.ts";
import { globalAveragePool } from "../../../kernels/ops/global_average_pool/global_average_pool.ts";
import { scaleChannels } from "../../../kernels/ops/scale_channels/scale_channels.ts";
import { checkOp, KINDS, randomValues, withGpu } from "../check_op.ts";
import { ACTIVATION_FUNCTIONS } from "./activation_functions.ts";

const SHAPES = [[1, 1, 1, 1], [3, 2, 3, 3], [2, 5, 4, 17], [2, 23, 24, 5], [2, 5, 4, 70], [2, 2, 1, 1040]];
for (const [[kind, as], shape] of KINDS.flatMap((kind) => SHAPES.map((shape) => [kind, shape] as const))) {
  for (const activation of [undefined, "relu", "swish", "hard_swish"] as const) {
    if (elementCount(shape) > 1000 && activation !== "swish") continue; // seconds, once
    const title = `scaleChannels [${shape}], ${kind}${activation ? ` + ${activation}` : ""}`;
    Deno.test(`${title} equals a float64 loop, and so do its gradients`, () =>
      withGpu((gpu) => {
        const [n, h, w, c] = shape;
        return checkOp(as(gpu), {
          inputs: [
            { shape, values: randomValues("x", shape, 3), gradient: true },
            { shape: [n, 1, 1, c], values: randomValues("scale", [n, 1, 1, c]), gradient: true },
          ],
          build: (graph, [x, scale]) => graph.apply(scaleChannels, [x, scale], { activation }),
          reference: (x, scale) =>
            x.map((value, i) => {
              const z = value * scale[Math.floor(i / (h * w * c)) * c + i % c];
              return activation === undefined ? z : ACTIVATION_FUNCTIONS[activation](z);
            }),
        });
      }));
  }
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

import { assertEquals, assertThrows } from "@std/assert";
import { Graph } from "../../../kernels/graph.ts";
import { swiglu } from "../../../kernels/ops/gated_activation/gated_activation.ts";
import { checkOp, KINDS, randomValues, runOp, withGpu } from "../check_op.ts";
import { ACTIVATION_FUNCTIONS } from "./activation_functions.ts";

for (const [kind, as] of KINDS) {
  for (const shape of [[1, 1, 1, 8], [2, 3, 1, 24], [1, 17, 1, 40], [5, 1, 1, 16], [3, 8]]) {
    const title = `swiglu [${shape}]`;
    Deno.test(`${title} equals a float64 loop, and so does its gradient: ${kind}`, () =>
      withGpu((gpu) => {
        const half = shape.at(-1)! / 2;
        return checkOp(as(gpu), {
          name: title,
          inputs: [{ shape, values: randomValues("x", shape, 3), gradient: true }],
          build: (graph, [x]) => graph.apply(swiglu, [x], {}),
          reference: (x) =>
            Float64Array.from({ length: x.length / 2 }, (_, i) => {
              const gate = Math.floor(i / half) * 2 * half + i % half;
              return ACTIVATION_FUNCTIONS.swish(x[gate]) * x[gate + half];
            }),
        });
      }));
  }

  for (const shape of [[1, 1, 1, 4], [2, 3, 1, 17], [1, 17, 1, 20], [5, 1], [3, 3]]) {
    const title = `swiglu of gate and value [${shape}]`;
    Deno.test(`${title} equals a float64 loop, and so do its gradients: ${kind}`, () =>
      withGpu((gpu) =>
        checkOp(as(gpu), {
          name: title,
          inputs: ["gate", "value"].map((name) => ({
            shape,
            values: randomValues(name, shape, 3),
            gradient: true,
          })),
          build: (graph, inputs) => graph.apply(swiglu, inputs, {}),
          reference: (gate, value) => gate.map((z, i) => ACTIVATION_FUNCTIONS.swish(z) * value[i]),
        })
      ));
  }
}

Deno.test("swiglu of NaN is NaN where its gate or its value is", () =>
  withGpu(async (gpu) => {
    const values = randomValues("x", [2, 8]);
    values[1] = values[14] = NaN; // a gate of row 0, a value of row 1
    const [y] = await runOp(gpu, [{ shape: [2, 8], values }], (graph, [x]) => [graph.apply(swiglu, [x], {})]);
    assertEquals([...y].map(Number.isNaN), [false, true, false, false, false, false, true, false]);
  }));

Deno.test("swiglu refuses a gate and a value of two shapes", () => {
  const graph = new Graph();
  const [gate, value] = [4, 5].map((channels) => graph.source("x", [2, channels]));
  assertThrows(
    () => graph.apply(swiglu, [gate, value], {}),
    Error,
    "swiglu: expected a gate and a value of one shape",
  );
});

Deno.test("swiglu refuses halves that are not whole vec4s", () => {
  const graph = new Graph();
  for (const channels of [4, 7, 12]) {
    const x = graph.source("x", [2, channels]);
    assertThrows(
      () => graph.apply(swiglu, [x], {}),
      Error,
      `swiglu: expected two halves of a multiple of four channels, found x [2,${channels}]`,
    );
  }
});

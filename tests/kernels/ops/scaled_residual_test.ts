import { assertThrows } from "@std/assert";
import { Graph } from "../../../kernels/graph.ts";
import { scaledResidual } from "../../../kernels/ops/scaled_residual/scaled_residual.ts";
import { checkOp, KINDS, randomValues, withGpu } from "../check_op.ts";

const reference = (channels: number) => (x: Float64Array, gamma: Float64Array, residual: Float64Array) =>
  x.map((value, i) => residual[i] + gamma[i % channels] * value);

for (const [kind, as] of KINDS) {
  for (const shape of [[1, 1, 1, 1], [2, 3, 1, 3], [1, 5, 1, 17], [3, 41, 1, 8], [2, 132], [1, 2, 1, 260]]) {
    Deno.test(`scaledResidual [${shape}], ${kind}, equals a float64 loop, and so do its gradients`, () =>
      withGpu((gpu) => {
        const channels = shape.at(-1)!;
        return checkOp(as(gpu), {
          name: `[${shape}]`,
          inputs: [
            { shape, values: randomValues("x", shape), gradient: true },
            { shape: [channels], values: randomValues("gamma", [channels]), gradient: true },
            { shape, values: randomValues("residual", shape), gradient: true },
          ],
          build: (graph, inputs) => graph.apply(scaledResidual, inputs, {}),
          reference: reference(channels),
        });
      }));
  }

  Deno.test(`scaledResidual of many rows, ${kind}, sums the gradient of gamma over all of them`, () =>
    withGpu((gpu) => {
      const shape = [3, 1500, 1, 5];
      return checkOp(as(gpu), {
        name: "many rows",
        inputs: [
          { shape, values: randomValues("x", shape) },
          { shape: [5], values: randomValues("gamma", [5]), gradient: true },
          { shape, values: randomValues("residual", shape) },
        ],
        build: (graph, inputs) => graph.apply(scaledResidual, inputs, {}),
        reference: reference(5),
      });
    }));
}

Deno.test("scaledResidual refuses a gamma of other channels and another residual", () => {
  const graph = new Graph();
  const [x, gamma, other, long] = [[2, 3], [3], [4], [3, 3]].map((shape, i) =>
    graph.source(`input ${i}`, shape)
  );
  for (const inputs of [[x, other, x], [x, gamma, long], [x, gamma]]) {
    assertThrows(
      () => graph.apply(scaledResidual, inputs, {}),
      Error,
      "scaled_residual: expected x [..., c], gamma [c] and a residual like x",
    );
  }
});

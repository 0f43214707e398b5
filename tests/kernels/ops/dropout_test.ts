import { assert, assertEquals, assertThrows } from "@std/assert";
import { Graph, type Op } from "../../../kernels/graph.ts";
import { differentiate } from "../../../kernels/autodiff.ts";
import { padRows, unpadRows } from "../../../kernels/layout.ts";
import { dropout, type DropoutAttributes } from "../../../kernels/ops/dropout/dropout.ts";
import { Program } from "../../../kernels/program.ts";
import { randomValues, withGpu } from "../check_op.ts";

/** A loss whose gradient with respect to its first input is the second. Only differentiated. */
const seeded: Op<Record<never, never>> = {
  name: "seeded",
  shape: () => [{ shape: [1] }],
  gradient: (_graph, node) => [node.inputs[1], undefined],
  lower() {
    throw new Error("seeded is only differentiated");
  },
};

const SHAPE = [64, 5, 5, 10];
const ONES = new Float32Array(64 * 5 * 5 * 10).fill(1);

/** Outputs for each seed, and the gradient for the last: both of an input of ones. */
async function drop(attributes: DropoutAttributes, seeds: readonly [number, number][]) {
  const outputs: Float32Array[] = [];
  let gradient = new Float32Array();
  await withGpu(async (gpu) => {
    const graph = new Graph();
    const x = graph.source("x", SHAPE);
    const seed = graph.source("seed", [2], "u32");
    const extra = attributes.residual ? [graph.source("residual", SHAPE)] : [];
    const dy = graph.source("dy", SHAPE);
    const y = graph.apply(dropout, [x, seed, ...extra], attributes);
    const [dx] = differentiate(graph, graph.apply(seeded, [y, dy], {}), [x]);
    const inputs = [x, seed, dy, ...extra];
    using program = await Program.compile(gpu, { label: "test", graph, inputs, outputs: [y, dx] });
    program.write(x, padRows(ONES, SHAPE));
    program.write(dy, padRows(ONES, SHAPE));
    if (extra.length > 0) program.write(extra[0], padRows(randomValues("residual", SHAPE), SHAPE));
    for (const words of seeds) {
      program.write(seed, Uint32Array.from(words));
      program.run();
      const padded = await program.read(y);
      outputs.push(unpadRows(padded, SHAPE));
      assertEquals(padded, padRows(outputs.at(-1)!, SHAPE), "pad lanes");
    }
    gradient = unpadRows(await program.read(dx), SHAPE);
  });
  return { outputs, gradient };
}

const agreement = (a: Float32Array, b: Float32Array) =>
  a.reduce((same, value, i) => same + Number(value === b[i]), 0) / a.length;

for (const rate of [0.1, 0.5, 0.8]) {
  Deno.test(`dropout of ${rate} keeps its share of the values, scaled up, and the gradient has the same mask`, async () => {
    const { outputs: [y, again, other], gradient } = await drop(
      { rate, granularity: "element", salt: 3 },
      [[1, 2], [1, 2], [2, 2]],
    );
    const kept = y.filter((value) => value !== 0);
    assert(kept.every((value) => value === Math.fround(1 / (1 - rate))));
    // Six standard deviations of a binomial share.
    const bound = 6 * Math.sqrt(rate * (1 - rate) / y.length);
    assert(Math.abs(kept.length / y.length - (1 - rate)) < bound, `${kept.length} of ${y.length}`);
    assertEquals(y, again);
    const expected = rate ** 2 + (1 - rate) ** 2;
    assert(Math.abs(agreement(y, other) - expected) < 0.03, "another seed gives an independent mask");
    assertEquals(gradient, other);
  });
}

Deno.test("dropout's masks differ from layer to layer, in either word of the seed, and from value to value", async () => {
  const attributes: DropoutAttributes = { rate: 0.5, granularity: "element", salt: 0 };
  const { outputs: [y, second] } = await drop(attributes, [[0, 0], [0, 1]]);
  const { outputs: [layer] } = await drop({ ...attributes, salt: 1 }, [[0, 0]]);
  for (const other of [second, layer]) assert(Math.abs(agreement(y, other) - 0.5) < 0.03);
  // Neighbours along every dimension agree half of the time.
  for (const distance of [1, 10, 50, 250]) {
    const shifted = y.subarray(distance);
    assert(Math.abs(agreement(y.slice(0, shifted.length), shifted) - 0.5) < 0.03, `distance ${distance}`);
  }
});

Deno.test("dropout of samples drops all of a sample or nothing, and adds the residual", async () => {
  const { outputs, gradient } = await drop(
    { rate: 0.3, granularity: "sample", salt: 7, residual: true },
    Array.from({ length: 20 }, (_, i) => [9, i] as [number, number]),
  );
  const residual = randomValues("residual", SHAPE);
  const size = 250;
  let kept = 0;
  for (const [run, y] of outputs.entries()) {
    for (let sample = 0; sample < 64; sample++) {
      const range = [sample * size, (sample + 1) * size] as const;
      const added = y.slice(...range).map((value, i) => value - residual[range[0] + i]);
      const isKept = added[0] > 0.5;
      const expected = isKept ? 1 / 0.7 : 0;
      assert(added.every((value) => Math.abs(value - expected) < 1e-6), `sample ${sample}`);
      if (run === outputs.length - 1) assertEquals(gradient[range[0]], Math.fround(expected));
      kept += Number(isKept);
    }
  }
  const share = kept / (64 * outputs.length);
  assert(Math.abs(share - 0.7) < 6 * Math.sqrt(0.21 / (64 * outputs.length)), `${share}`);
});

Deno.test("dropout of rate 0 is the identity, and of rate 1 refused", async () => {
  const { outputs: [y] } = await drop({ rate: 0, granularity: "element", salt: 0 }, [[5, 5]]);
  assertEquals(y, ONES);
  const graph = new Graph();
  const inputs = [graph.source("x", [4]), graph.source("seed", [2], "u32")];
  assertThrows(
    () => graph.apply(dropout, inputs, { rate: 1, granularity: "element", salt: 0 }),
    Error,
    "the rate must be in [0, 1)",
  );
});

import { assert, assertAlmostEquals, assertEquals, assertLessOrEqual } from "@std/assert";
import type { Gpu } from "../../../kernels/gpu.ts";
import { Graph } from "../../../kernels/graph.ts";
import { padRows, unpadRows } from "../../../kernels/layout.ts";
import { activate, type Activation, activationGradient } from "../../../kernels/ops/activation/activation.ts";
import { conv2d } from "../../../kernels/ops/conv2d/conv2d.ts";
import { Program } from "../../../kernels/program.ts";
import {
  asHardware,
  checkOp,
  KINDS,
  randomValues,
  relativeError,
  runOp,
  withGpu,
  withoutTextures,
} from "../check_op.ts";
import { referenceJson } from "../../reference.ts";
import { ACTIVATION_FUNCTIONS } from "./activation_functions.ts";

const ACTIVATIONS = Object.keys(ACTIVATION_FUNCTIONS) as Activation[];

for (const [kind, as] of KINDS) {
  for (const activation of ACTIVATIONS) {
    for (const shape of [[1, 1, 1, 1], [2, 3, 5, 3], [3, 2, 2, 17], [70, 8]]) {
      const title = `activate() of ${activation} over [${shape}]`;
      Deno.test(`${title} equals a float64 loop, and so does its gradient: ${kind}`, () =>
        withGpu((gpu) =>
          checkOp(as(gpu), {
            name: title,
            inputs: [{ shape, values: randomValues("x", shape, 5), gradient: true }],
            build: (graph, [x]) => graph.apply(activate, [x], { activation }),
            reference: (x) => x.map(ACTIVATION_FUNCTIONS[activation]),
          })
        ));
    }
  }
}

Deno.test("activate() is right far out and its slope at a kink is PyTorch's", () =>
  withGpu(async (gpu) => {
    const z = [-1e30, -200, -3, 0, 3, 200, 1e30, 6];
    const slopes: Record<Activation, number[]> = {
      relu: [0, 0, 0, 0, 1, 1, 1, 1],
      sigmoid: [0, 0, NaN, 0.25, NaN, 0, 0, NaN],
      hard_sigmoid: [0, 0, 0, 1 / 6, 0, 0, 0, 0],
      swish: [0, 0, NaN, 0.5, NaN, 1, 1, NaN],
      hard_swish: [0, 0, 0, 0.5, 1, 1, 1, 1],
      gelu: [0, 0, NaN, 0.5, NaN, 1, 1, NaN],
    };
    for (const activation of ACTIVATIONS) {
      const graph = new Graph();
      const x = graph.source("x", [8]);
      const ones = graph.source("ones", [8]);
      const y = graph.apply(activate, [x], { activation });
      const dx = graph.apply(activationGradient, [ones, x], { activation });
      using program = await Program.compile(gpu, {
        label: "test",
        graph,
        inputs: [x, ones],
        outputs: [y, dx],
      });
      program.write(x, Float32Array.from(z));
      program.write(ones, new Float32Array(8).fill(1));
      program.run();
      const values = await program.read(y);
      for (const [i, value] of values.entries()) {
        const expected = ACTIVATION_FUNCTIONS[activation](z[i]);
        assert(
          Math.abs(value - expected) <= 1e-5 * Math.abs(expected) + 1e-7,
          `${activation}(${z[i]}): ${value}`,
        );
      }
      for (const [i, slope] of (await program.read(dx)).entries()) {
        const expected = slopes[activation][i];
        if (!Number.isNaN(expected)) {
          assert(Math.abs(slope - expected) < 1e-6, `${activation}'(${z[i]}): ${slope}`);
        }
      }
    }
  }));

/** The values and slopes of an activation at each of some numbers. */
function activationOf(gpu: Gpu, activation: Activation, z: Float32Array): Promise<Float32Array[]> {
  const shape = [z.length];
  const inputs = [{ shape, values: z }, { shape, values: new Float32Array(z.length).fill(1) }];
  return runOp(gpu, inputs, (graph, [x, ones]) => [
    graph.apply(activate, [x], { activation }),
    graph.apply(activationGradient, [ones, x], { activation }),
  ]);
}

Deno.test("gelu is within two ulps of erf in float64, or within 1e-7, at 80,000 places, and so is its slope", () =>
  withGpu(async (gpu) => {
    const z = Float32Array.from({ length: 80_000 }, (_, i) => (i - 40_000) / 5000);
    const [values, slopes] = await activationOf(gpu, "gelu", z);
    const density = (x: number) => Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
    for (const [i, x] of z.entries()) {
      const expected = ACTIVATION_FUNCTIONS.gelu(x);
      // An ulp is up to 2^-23 of a number.
      assertLessOrEqual(
        Math.abs(values[i] - expected),
        Math.max(1e-7, 2 ** -22 * Math.abs(expected)),
        `gelu(${x})`,
      );
      // The tail is as exact as the rest: x Phi(x) does not come from a sum that cancels.
      if (x !== 0) assertLessOrEqual(Math.abs(values[i] / expected - 1), 1e-5, `gelu(${x})`);
      const slope = x === 0 ? 0.5 : expected / x + x * density(x);
      assertLessOrEqual(Math.abs(slopes[i] - slope), 3e-7, `slope of gelu at ${x}`);
    }
  }));

Deno.test("parity: gelu is PyTorch's, at infinities and NaN too", () =>
  withGpu(async (gpu) => {
    const { x, y } = referenceJson("vit/pieces.json").gelu;
    const [values] = await activationOf(gpu, "gelu", Float32Array.from(x));
    for (const [i, expected] of y.entries()) assertAlmostEquals(values[i], expected, 1e-7, `gelu(${x[i]})`);
    // -Infinity times zero, as PyTorch multiplies it, and there the slope is at either end.
    const [ends, slopes] = await activationOf(
      gpu,
      "gelu",
      Float32Array.of(Infinity, -Infinity, NaN, -0),
    );
    assertEquals([...ends], [Infinity, NaN, NaN, -0]);
    assertEquals([...slopes], [NaN, NaN, NaN, 0.5]);
  }));

for (const [kind, as] of KINDS) {
  Deno.test(`parity: swish is PyTorch's SiLU: ${kind}`, () =>
    withGpu(async (gpu) => {
      const { x, y } = referenceJson("vit/pieces.json").silu;
      const [values] = await activationOf(as(gpu), "swish", Float32Array.from(x));
      for (const [i, expected] of y.entries()) {
        assertAlmostEquals(values[i], expected, 2 ** -22 * Math.abs(expected), `silu(${x[i]})`);
      }
    }));
}

for (
  const [kernels, adapt] of [["textures", undefined], ["buffers", withoutTextures], [
    "staged",
    asHardware,
  ]] as const
) {
  Deno.test(`conv2d applies every activation in its epilogue and keeps pad lanes zero (${kernels})`, () =>
    withGpu(async (gpu) => {
      const values = randomValues("x", [3, 2, 2, 5], 3);
      const weight = randomValues("w", [1, 1, 8, 6], 1);
      const bias = randomValues("bias", [6], 1);
      for (const activation of ACTIVATIONS) {
        const graph = new Graph();
        const x = graph.source("x", [3, 2, 2, 5]);
        const w = graph.source("w", [1, 1, 8, 6]);
        const b = graph.source("bias", [6]);
        const geometry = { stride: 1, padTop: 0, padLeft: 0, padBottom: 0, padRight: 0 };
        const y = graph.apply(conv2d, [x, w, b], { ...geometry, bias: true, activation });
        using program = await Program.compile(adapt === undefined ? gpu : adapt(gpu), {
          label: "test",
          graph,
          inputs: [x, w, b],
          outputs: [y],
        });
        program.write(x, padRows(values, x.shape));
        program.write(w, padRows(weight, w.shape));
        program.write(b, padRows(bias, b.shape));
        program.run();
        const padded = await program.read(y);
        const found = unpadRows(padded, y.shape);
        assertEquals(padded, padRows(found, y.shape), "pad lanes");
        const expected = Float64Array.from(found, (_, i) => {
          const [row, column] = [Math.floor(i / 6), i % 6];
          let z = bias[column];
          for (let k = 0; k < 5; k++) z += values[row * 5 + k] * weight[k * 6 + column];
          return ACTIVATION_FUNCTIONS[activation](z);
        });
        const error = relativeError(found, expected);
        assert(error <= 1e-5, `${activation}: ${error}`);
      }
    }));
}

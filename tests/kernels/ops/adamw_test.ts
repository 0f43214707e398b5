import { assert, assertEquals, assertLess } from "@std/assert";
import type { Gpu } from "../../../kernels/gpu.ts";
import { adamw, type AdamWAttributes } from "../../../kernels/ops/adamw/adamw.ts";
import {
  FIXED_SCALE,
  NO_SCALE,
  packStepControl,
  stepControl,
  unpackStepControl,
  updateLossScale,
} from "../../../kernels/ops/loss_scale/loss_scale.ts";
import { AdamW64 } from "../../models/optim/float64.ts";
import { KINDS, randomValues, relativeError, withGpu } from "../check_op.ts";
import { EffectProgram } from "./effect_program.ts";

const PYTORCH: AdamWAttributes = { betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0.01 };

/** An update of some tensors [length] each, whose gradients are looked at together. */
function compileAdamw(gpu: Gpu, lengths: readonly number[], attributes: AdamWAttributes) {
  const names = ["weights", "gradients", "mean", "square"];
  const shapes: Record<string, readonly number[]> = {
    control: [8],
    rate: [1],
    ...Object.fromEntries(
      lengths.flatMap((length, i) => names.map((name) => [`${name} ${i}`, [length]])),
    ),
  };
  return EffectProgram.compile(gpu, shapes, (graph, tensors) => {
    const { control, rate } = tensors;
    graph.applyAll(
      updateLossScale,
      [control, ...lengths.map((_, i) => tensors[`gradients ${i}`])],
      FIXED_SCALE,
    );
    for (const i of lengths.keys()) {
      graph.applyAll(adamw, [...names.map((name) => tensors[`${name} ${i}`]), rate, control], attributes);
    }
  });
}

const LENGTHS = [3, 4099];
const SETTINGS: Readonly<Record<string, AdamWAttributes>> = {
  "PyTorch's settings": PYTORCH,
  "slow moments, a large epsilon and strong weight decay": {
    betas: [0.95, 0.9999],
    epsilon: 0.1,
    weightDecay: 0.5,
  },
  "no moments": { betas: [0, 0], epsilon: 1e-3, weightDecay: 0 },
};
const SCALE = 1024;
/** Of ten steps, the one with a gradient that is not finite. */
const SKIPPED = 4;

for (const [kind, as] of KINDS) {
  for (const [name, attributes] of Object.entries(SETTINGS)) {
    Deno.test(`adamw takes ten steps as a float64 loop does, and skips one: ${name}, ${kind}`, () =>
      withGpu(async (gpu) => {
        using program = await compileAdamw(as(gpu), LENGTHS, attributes);
        program.write("control", packStepControl({ ...NO_SCALE, scale: SCALE }));
        const expected = LENGTHS.map((length, i) => {
          const weights = randomValues(`w${i}`, [length]);
          program.write(`weights ${i}`, weights);
          return new AdamW64(weights, attributes);
        });
        for (let step = 0; step < 10; step++) {
          const rate = Math.fround(0.1 / (step + 1));
          program.write("rate", [rate]);
          for (const [i, length] of LENGTHS.entries()) {
            // Small first ones: whoever forgets the correction of the moments' start is far off.
            const gradients = randomValues(`g${i} ${step}`, [length], (step + 1) / 10);
            const scaled = gradients.map((value) => value * SCALE);
            if (step === SKIPPED && i === 1) scaled[length - 1] = Infinity;
            program.write(`gradients ${i}`, scaled);
            if (step !== SKIPPED) expected[i].step(gradients, rate);
          }
          program.run();
          const { isApplied, steps } = unpackStepControl(await program.read("control"));
          assertEquals([isApplied, steps], [step !== SKIPPED, step < SKIPPED ? step + 1 : step]);
        }
        for (const [i, { weights, mean, square }] of expected.entries()) {
          for (const [tensor, values] of Object.entries({ weights, mean, square })) {
            const error = relativeError(await program.read(`${tensor} ${i}`), values);
            assertLess(error, 2e-6, `${tensor} ${i}`);
          }
        }
      }));
  }

  Deno.test(`adamw corrects its moments for their start at any step: ${kind}`, () =>
    withGpu(async (gpu) => {
      const count = 260;
      // 0.9999 in float32 leaves 1.0002e-4 of 1: the rest of 1 is to be taken before it is rounded.
      for (const betas of [[0.9, 0.999], [0.99, 0.9999]] as const) {
        const attributes: AdamWAttributes = { betas, epsilon: 1e-8, weightDecay: 0 };
        using program = await compileAdamw(as(gpu), [count], attributes);
        for (const step of [1, 2, 3, 30, 300, 1000, 3000, 100_000]) {
          // As much as the moments have at such a step, where the gradients are about 1.
          const gradients = randomValues("g", [count], 0.5).map((value) => value + 1);
          const moments = betas.map((beta) => gradients.map((value) => value * (1 - beta ** (step - 1))));
          program.write("control", packStepControl(NO_SCALE, step - 1));
          program.write("rate", [1]);
          program.write("weights 0", new Float32Array(count));
          program.write("gradients 0", gradients);
          program.write("mean 0", moments[0]);
          program.write("square 0", moments[1]);
          program.run();
          const expected = new AdamW64(new Float32Array(count), attributes, step - 1, moments);
          expected.step(gradients, 1);
          const error = Math.max(
            ...(await program.read("weights 0")).map((value, i) => Math.abs(value / expected.weights[i] - 1)),
          );
          assertLess(error, 2e-6, `step ${step} with betas ${betas}`);
        }
      }
    }));
}

Deno.test("adamw needs moments of the weights' size, and the step's control", () => {
  const shapes = { weights: [8], gradients: [8], mean: [8], square: [4], rate: [1] };
  return withGpu(async (gpu) => {
    for (const [square, withControl] of [[4, true], [8, false]] as const) {
      let message = "";
      await EffectProgram.compile(gpu, { ...shapes, square: [square] }, (graph, tensors) => {
        const inputs = Object.values(tensors);
        try {
          graph.applyAll(adamw, withControl ? [...inputs, stepControl(graph)] : inputs, PYTORCH);
        } catch (error) {
          message = (error as Error).message;
        }
      });
      assert(message.startsWith("adamw: expected"), message);
    }
  });
});

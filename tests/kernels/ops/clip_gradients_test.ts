import { assertAlmostEquals, assertEquals } from "@std/assert";
import { clipGradients } from "../../../kernels/ops/clip_gradients/clip_gradients.ts";
import {
  FIXED_SCALE,
  NO_SCALE,
  packStepControl,
  unpackStepControl,
  updateLossScale,
} from "../../../kernels/ops/loss_scale/loss_scale.ts";
import { clip64 } from "../../models/optim/float64.ts";
import { KINDS, randomValues, withGpu } from "../check_op.ts";
import { EffectProgram } from "./effect_program.ts";

/** The last is more than all workgroups take in one go. */
const LENGTHS = [3, 4099, 270_001];

/** Largest gradient, what gradients are multiplied by, and the norm that is not exceeded. */
const CASES: Readonly<Record<string, { largest: number; scale: number; maxNorm: number }>> = {
  "a norm below": { largest: 1e-3, scale: 1, maxNorm: 1 },
  "a norm above": { largest: 1, scale: 1, maxNorm: 0.5 },
  "a scaled norm below": { largest: 1e-3, scale: 2 ** 16, maxNorm: 1 },
  "a scaled norm above": { largest: 1, scale: 2 ** 16, maxNorm: 0.5 },
  "scaled gradients whose squares are infinite": { largest: 1e3, scale: 2 ** 100, maxNorm: 2 },
  "gradients smaller than what the norm is kept from 0 by": { largest: 1e-9, scale: 1, maxNorm: 1e-9 },
  "no gradients but 0": { largest: 0, scale: 1, maxNorm: 1e-3 },
};

for (const [kind, as] of KINDS) {
  for (const lengths of [LENGTHS, LENGTHS.slice(2)]) {
    Deno.test(`clipGradients finds clip_grad_norm_'s factor, ${lengths.length} tensors: ${kind}`, () =>
      withGpu(async (gpu) => {
        const names = lengths.map((_, i) => `gradients ${i}`);
        const shapes = Object.fromEntries([
          ["control", [8]],
          ...names.map((name, i) => [name, [lengths[i]]] as const),
        ]);
        for (const [name, { largest, scale, maxNorm }] of Object.entries(CASES)) {
          using program = await EffectProgram.compile(as(gpu), shapes, (graph, tensors) => {
            const inputs = [tensors.control, ...names.map((gradient) => tensors[gradient])];
            graph.applyAll(updateLossScale, inputs, FIXED_SCALE);
            graph.applyAll(clipGradients, inputs, { maxNorm });
          });
          program.write("control", packStepControl({ ...NO_SCALE, scale }, 3));
          const gradients = lengths.map((length, i) => randomValues(names[i], [length], largest));
          const scaled = gradients.map((values) => values.map((value) => value * scale));
          for (const [i, values] of scaled.entries()) program.write(names[i], values);
          const expected = clip64(gradients, maxNorm);
          // The second step begins with what the first has left in the control.
          for (const steps of [4, 5]) {
            program.run();
            const control = await program.read("control");
            assertEquals(unpackStepControl(control), {
              lossScale: { ...NO_SCALE, scale },
              steps,
              isApplied: true,
            });
            const [, , , , , factor, norm] = control;
            assertAlmostEquals(norm, expected.norm, 1e-5 * expected.norm, `${name}: norm`);
            if (expected.factor === 1) assertEquals(factor, 1 / scale, name);
            assertAlmostEquals(factor * scale, expected.factor, 1e-5 * expected.factor, `${name}: factor`);
          }
          for (const [i, values] of scaled.entries()) assertEquals(await program.read(names[i]), values);
        }
      }));
  }

  Deno.test(`clipGradients leaves it to the control that a step is skipped, and clips the next: ${kind}`, () =>
    withGpu(async (gpu) => {
      const shapes = { control: [8], gradients: [5] };
      using program = await EffectProgram.compile(as(gpu), shapes, (graph, { control, gradients }) => {
        graph.applyAll(updateLossScale, [control, gradients], FIXED_SCALE);
        graph.applyAll(clipGradients, [control, gradients], { maxNorm: 1 });
      });
      program.write("control", packStepControl(NO_SCALE));
      for (const [value, isApplied] of [[NaN, false], [Infinity, false], [2, true]] as const) {
        program.write("gradients", [0, 0, 0, 0, value]);
        program.run();
        const control = await program.read("control");
        assertEquals(unpackStepControl(control).isApplied, isApplied);
        if (isApplied) assertAlmostEquals(control[5], 0.5, 1e-6);
      }
    }));
}

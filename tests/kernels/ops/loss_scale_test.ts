import { assertEquals } from "@std/assert";
import { Graph } from "../../../kernels/graph.ts";
import {
  GRAD_SCALER,
  INITIAL_LOSS_SCALE,
  type LossScale,
  packStepControl,
  stepControl,
  unpackStepControl,
  updateLossScale,
} from "../../../kernels/ops/loss_scale/loss_scale.ts";
import { sgd } from "../../../kernels/ops/sgd/sgd.ts";
import { Program } from "../../../kernels/program.ts";
import { readBuffer } from "../../../kernels/readback.ts";
import { asHardware, withGpu } from "../check_op.ts";

const FIRST = [5, 4099];

for (const kind of ["software", "hardware"]) {
  Deno.test(`updateLossScale() follows GradScaler, and sgd() skips what overflowed (${kind})`, () =>
    withGpu(async (opened) => {
      const gpu = kind === "hardware" ? asHardware(opened) : opened;
      const graph = new Graph();
      const scale = stepControl(graph);
      const gradients = FIRST.map((length, i) => graph.source(`gradient ${i}`, [length]));
      const weights = FIRST.map((length, i) => graph.source(`weights ${i}`, [length]));
      const velocity = FIRST.map((length, i) => graph.source(`velocity ${i}`, [length]));
      const rate = graph.source("rate", [1]);
      graph.applyAll(updateLossScale, [scale, ...gradients], GRAD_SCALER);
      for (const [i, w] of weights.entries()) {
        graph.applyAll(sgd, [w, gradients[i], velocity[i], rate, scale], { momentum: 0, weightDecay: 0 });
      }
      using program = await Program.compile(gpu, {
        label: "test",
        graph,
        inputs: [scale, rate, ...gradients, ...weights, ...velocity],
        outputs: [scale, ...weights],
      });
      const step = async (before: LossScale, gradient: number, at: number, value: number) => {
        program.write(scale, packStepControl(before));
        program.write(rate, Float32Array.of(1, 0, 0, 0));
        for (const [i, length] of FIRST.entries()) {
          const zeros = new Float32Array(Math.ceil(length / 4) * 4);
          program.write(weights[i], zeros);
          program.write(velocity[i], zeros);
          const filled = zeros.slice().fill(gradient, 0, length);
          if (i === 1) filled[at] = value;
          program.write(gradients[i], filled);
        }
        program.run();
        const read = async (range: { buffer: GPUBuffer; offset: number; bytes: number }) =>
          new Float32Array(await readBuffer(gpu, range.buffer, range.offset, range.bytes));
        const [first, second] = await Promise.all(weights.map((w) => read(program.rangeOf(w))));
        return {
          after: unpackStepControl(await read(program.rangeOf(scale))).lossScale,
          first: first[4],
          second: second[4098],
        };
      };

      assertEquals(await step(INITIAL_LOSS_SCALE, 2 ** 17, 7, 1), {
        after: { scale: 2 ** 16, goodSteps: 1, skipped: 0 },
        first: -2,
        second: -2,
      });
      assertEquals(
        (await step({ scale: 8, goodSteps: 1999, skipped: 3 }, 1, 7, 1)).after,
        { scale: 16, goodSteps: 0, skipped: 3 },
      );
      for (const value of [Infinity, -Infinity, NaN]) {
        for (const at of [0, 4098]) {
          assertEquals(
            await step({ scale: 8, goodSteps: 1999, skipped: 3 }, 1, at, value),
            { after: { scale: 4, goodSteps: 0, skipped: 4 }, first: 0, second: 0 },
            `${value} at ${at}`,
          );
        }
      }
      // However many steps are skipped, the next good one changes the weights by what is finite.
      const skipped = await step({ scale: 2 ** -120, goodSteps: 0, skipped: 200 }, 1, 7, NaN);
      assertEquals(skipped.after, { scale: 2 ** -120, goodSteps: 0, skipped: 201 });
      assertEquals(await step(skipped.after, 0, 7, 0), {
        after: { scale: 2 ** -120, goodSteps: 1, skipped: 201 },
        first: 0,
        second: 0,
      });
      // And however many are not, the scale stays a number.
      assertEquals(
        (await step({ scale: 2 ** 126, goodSteps: 1999, skipped: 0 }, 0, 7, 0)).after,
        { scale: 2 ** 126, goodSteps: 0, skipped: 0 },
      );
      const largest = 3.4e38;
      assertEquals(
        (await step({ scale: 8, goodSteps: 0, skipped: 0 }, -largest, 1, largest)).after.skipped,
        0,
      );
    }));
}

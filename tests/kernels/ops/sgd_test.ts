import { assert } from "@std/assert";
import { Graph } from "../../../kernels/graph.ts";
import { sgd } from "../../../kernels/ops/sgd/sgd.ts";
import { Program } from "../../../kernels/program.ts";
import { softwareTuning } from "../../../kernels/tuning/tuning.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { asHardware, KINDS, randomValues, relativeError, withGpu } from "../check_op.ts";

const COUNT = 4 * 5000;
const [RATE, MOMENTUM, WEIGHT_DECAY] = [0.1, 0.9, 0.01];

/** A GPU with the table of a software adapter, as in a run that is gone on with on another machine. */
function tunedForSoftware(gpu: Gpu): Gpu {
  const hardware = asHardware(gpu);
  return { ...hardware, target: { ...hardware.target, tuning: softwareTuning(8, false) } };
}

/** A software adapter with so few textures that not all which is read fits into them. */
function withFewTextures(gpu: Gpu): Gpu {
  return { ...gpu, target: { ...gpu.target, maxStorageTexturesPerShaderStage: 3 } };
}

const kinds = [
  ...KINDS,
  ["kernels for GPUs, tuned elsewhere", tunedForSoftware] as const,
  ["few textures", withFewTextures] as const,
];

for (const [kind, as] of kinds) {
  Deno.test(`sgd takes three steps as a float64 loop does: ${kind}`, () =>
    withGpu(async (gpu) => {
      const graph = new Graph();
      const [weights, gradients, velocity] = ["weights", "gradients", "velocity"].map((name) =>
        graph.source(name, [COUNT / 4, 4])
      );
      const rate = graph.source("rate", [1]);
      graph.applyAll(sgd, [weights, gradients, velocity, rate], {
        momentum: MOMENTUM,
        weightDecay: WEIGHT_DECAY,
      });
      using program = await Program.compile(as(gpu), {
        label: "sgd",
        graph,
        inputs: [weights, gradients, velocity, rate],
        outputs: [weights, velocity],
      });
      const w = Float64Array.from(randomValues("w", [COUNT]));
      const v = new Float64Array(COUNT);
      program.write(weights, Float32Array.from(w));
      program.write(velocity, new Float32Array(COUNT));
      program.write(rate, Float32Array.of(RATE, 0, 0, 0));
      for (let step = 0; step < 3; step++) {
        const g = randomValues(`g${step}`, [COUNT]);
        program.write(gradients, g);
        program.run();
        for (let i = 0; i < COUNT; i++) {
          v[i] = MOMENTUM * v[i] + g[i] + WEIGHT_DECAY * w[i];
          w[i] -= RATE * v[i];
        }
      }
      const error = Math.max(
        relativeError(await program.read(weights), w),
        relativeError(await program.read(velocity), v),
      );
      assert(error < 1e-6, `${error}`);
    }));
}

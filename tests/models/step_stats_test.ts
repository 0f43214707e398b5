/** Norms of gradients and weights by group of layers, against what a step really changes. */
import { assert, assertAlmostEquals, assertEquals, assertGreater, assertLess } from "@std/assert";
import { INITIAL_LOSS_SCALE } from "../../kernels/ops/loss_scale/loss_scale.ts";
import { initialize, initializeQueue, type StateValues } from "../../models/initialize.ts";
import { layerGroups } from "../../models/step_stats.ts";
import { StudentStep, type StudentStepOptions } from "../../methods/seed/step.ts";
import { padRows } from "../../kernels/layout.ts";
import { timestampPeriod } from "../../kernels/timestamps.ts";
import { randomValues, withGpu } from "../kernels/check_op.ts";
import { TINY_ENCODER } from "./tiny_encoder.ts";

const DIMENSION = 10;
const SIZE = 8;
const RATE = 0.5;

const OPTIONS: StudentStepOptions = {
  encoder: TINY_ENCODER,
  head: { kind: "mlp", dimension: DIMENSION },
  batch: 4,
  imageSize: SIZE,
  input: "normalized",
  queueSize: 8,
  temperature: 0.2,
  teacherTemperature: 0.05,
  momentum: 0, // so that a step changes the weights by the gradient and nothing else
  weightDecay: 0,
  hasStats: true,
};

Deno.test("layerGroups() names stages, and divides what holds more than half of an encoder", () => {
  const resnet = ["conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer1.1.bn1.bias", "fc.0.weight"];
  assertEquals(layerGroups(resnet), ["conv1", "bn1", "layer1", "layer1", "fc"]);
  const mobile = ["features.0.0.weight", "features.1.block.0.0.weight", "features.1.block.1", "classifier.0"];
  assertEquals(layerGroups(mobile), ["features.0", "features.1", "features.1", "classifier"]);
});

/** L2 norms in float64 by group, of weights or of what they changed by. */
function norms64(values: StateValues, before?: StateValues): Record<string, number> {
  const keys = [...values.keys()].filter((key) => !/running_|num_batches/.test(key));
  const sums = new Map<string, number>();
  for (const [i, group] of layerGroups(keys).entries()) {
    const old = before?.get(keys[i]);
    const sum = values.get(keys[i])!.reduce((sum, value, j) => sum + (value - (old?.[j] ?? 0)) ** 2, 0);
    sums.set(group, (sums.get(group) ?? 0) + sum);
  }
  return Object.fromEntries([...sums].map(([group, sum]) => [group, Math.sqrt(sum)]));
}

function assertNorms(found: Record<string, number>, expected: Record<string, number>, factor = 1): void {
  assertEquals(Object.keys(found), Object.keys(expected));
  assertGreater(Object.keys(found).length, 1);
  for (const [group, norm] of Object.entries(expected)) {
    assertGreater(norm, 0, group);
    assertAlmostEquals(found[group], norm * factor, 2e-3 * norm * factor, group);
  }
}

const CASES: Readonly<Record<string, Partial<StudentStepOptions>>> = {
  "": {},
  ", with a loss scale": { lossScale: INITIAL_LOSS_SCALE },
  ", before they are clipped": { clipNorm: 1e-2 },
  ", of batches that accumulate": { accumulate: 2 },
};

for (const [name, options] of Object.entries(CASES)) {
  Deno.test(`a step tells the norms of its gradient and of the weights before it${name}`, () =>
    withGpu(async (gpu) => {
      using student = await StudentStep.create(gpu, { ...OPTIONS, ...options });
      const initial = initialize(student.state, 5);
      await student.parameters.load((key) => initial.get(key)!);
      student.queues[0].load(initializeQueue(OPTIONS.queueSize, DIMENSION, 7, "queue"));
      const shape = [OPTIONS.batch, SIZE, SIZE, 3];
      const size = options.accumulate ?? 1;
      let seconds = 0;
      let before: StateValues;
      let step: Awaited<ReturnType<StudentStep["run"]>>;
      // The second step's norms are its own.
      for (let batch = 0; batch < 2 * size; batch++) {
        const index = batch % size;
        if (index === 0) before = await student.parameters.save();
        const start = performance.now();
        step = await student.run({
          images: padRows(randomValues(`image ${batch}`, shape), shape),
          teacher: Float32Array.from(initializeQueue(OPTIONS.batch, DIMENSION, batch, "key")),
          learningRate: RATE,
          queuePointer: 4 * (batch % 2),
          group: { index, size },
          takesStats: true,
        });
        seconds = (performance.now() - start) / 1000;
        assert(step.isApplied);
        assertEquals(step.stats !== undefined, index === size - 1);
      }
      const after = await student.parameters.save();
      const changed = norms64(after, before!);
      const { gradientNorms, weightNorms, deviceSeconds } = step!.stats!;
      assertNorms(weightNorms, norms64(before!));
      if (await timestampPeriod(gpu) !== undefined) {
        assertGreater(deviceSeconds!, 0);
        assertLess(deviceSeconds!, seconds);
      } else assertEquals(deviceSeconds, undefined);
      const total = Math.hypot(...Object.values(gradientNorms));
      const clipped = options.clipNorm === undefined ? 1 : total / options.clipNorm;
      assertGreater(clipped, options.clipNorm === undefined ? 0 : 1);
      assertNorms(gradientNorms, changed, clipped / RATE);
    }));
}

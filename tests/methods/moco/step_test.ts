import { assertAlmostEquals, assertLess } from "@std/assert";
import { MocoStep } from "../../../methods/moco/step.ts";
import { findEncoder } from "../../../models/registry.ts";
import { relativeError, withGpu } from "../../kernels/check_op.ts";
import { formulaTensor } from "../../reference.ts";
import { formulaImages, formulaReader } from "../../models/reference_encoder.ts";

/** How it was made is said in it. */
const GOLDEN = JSON.parse(
  await Deno.readTextFile(new URL("../../golden/moco_steps.json", import.meta.url)),
);
const { dim, image_size: imageSize, queue: queueSize, m, t, momentum, weight_decay } = GOLDEN.settings;

/** Sum, L2 norm, first, middle and last number. */
type Figures = [number, number, number, number, number];

interface GoldenStep {
  loss: number;
  keys: number[][];
  queue_ptr: number;
  gradient?: Figures[];
  encoder_q?: Figures[];
  encoder_k?: Figures[];
}

interface GoldenRun {
  bn_splits: number;
  lr: number;
  batch: number;
  queue_ptr: number;
  steps: GoldenStep[];
  queue_after: Figures;
}

function figuresOf(values: ArrayLike<number>): Figures {
  const all = Array.from(values);
  return [
    all.reduce((a, b) => a + b, 0),
    Math.sqrt(all.reduce((a, b) => a + b * b, 0)),
    all[0],
    all[Math.floor(all.length / 2)],
    all.at(-1)!,
  ];
}

/** Fails where a tensor's figures differ by more than a share of its norm, its sum by more than that of a random walk. */
function assertFigures(
  values: ArrayLike<number>,
  expected: Figures,
  share: number,
  least: number,
  what: string,
) {
  const found = figuresOf(values);
  const tolerance = share * expected[1] + least;
  assertAlmostEquals(found[0], expected[0], tolerance * Math.sqrt(values.length), `${what}: sum`);
  for (const [i, name] of ["norm", "first", "middle", "last"].entries()) {
    assertAlmostEquals(found[i + 1], expected[i + 1], tolerance, `${what}: ${name}`);
  }
}

function goldenQueue(): Float32Array<ArrayBuffer> {
  const queue = Float32Array.from(formulaTensor("queue", [queueSize, dim], "unit"));
  for (let row = 0; row < queueSize; row++) {
    const values = queue.subarray(row * dim, (row + 1) * dim);
    const norm = Math.hypot(...values);
    for (const [i, value] of values.entries()) values[i] = value / norm;
  }
  return queue;
}

/** The images of a step in the order that puts every split's in one group: the original takes every nth. */
function imagesOf(name: string, batch: number, splits: number): Float32Array<ArrayBuffer> {
  const images = formulaImages(name, batch, imageSize);
  const length = images.length / batch;
  const ordered = new Float32Array(images.length);
  for (const [to, from] of orderOf(batch, splits).entries()) {
    ordered.set(images.subarray(from * length, (from + 1) * length), to * length);
  }
  return ordered;
}

function orderOf(batch: number, splits: number): number[] {
  return Array.from({ length: batch }, (_, i) => {
    const perGroup = batch / splits;
    return (i % perGroup) * splits + Math.floor(i / perGroup);
  });
}

for (const name of ["steps_1", "calm_1", "calm_2"]) {
  const run: GoldenRun = GOLDEN[name];
  const { bn_splits: splits, batch, lr } = run;
  // At the higher rate a ReLU's rounding grows from step to step, in PyTorch's float32 too.
  const isCalm = name.startsWith("calm");
  Deno.test(`parity: ${run.steps.length} steps of MoCo-v2, bn-splits ${splits}, lr ${lr}, equal the original's`, () =>
    withGpu(async (gpu) => {
      using step = await MocoStep.create(gpu, {
        encoder: findEncoder(GOLDEN.settings.encoder),
        head: { kind: "mlp", dimension: dim },
        batch,
        imageSize,
        input: "normalized",
        queueSize,
        temperature: t,
        keyMomentum: m,
        momentum,
        weightDecay: weight_decay,
        splits,
        shufflesKeys: false,
      });
      const read = formulaReader(step.state, "encoder_q.");
      await step.load(read, read);
      step.queues[0].load(goldenQueue());
      const order = orderOf(batch, splits);
      let queuePointer = run.queue_ptr;
      for (const [s, expected] of run.steps.entries()) {
        const close = s === 0 || isCalm;
        const { loss } = await step.run({
          queries: imagesOf(`input/q${s}`, batch, splits),
          keys: imagesOf(`input/k${s}`, batch, splits),
          learningRate: lr,
          queuePointer,
        });
        assertAlmostEquals(loss, expected.loss, (close ? 5e-5 : 5e-2) * expected.loss, `loss of step ${s}`);
        const keys = await step.readKeys();
        for (const [to, from] of order.entries()) {
          const found = keys.subarray(to * dim, (to + 1) * dim);
          assertLess(
            relativeError(found, expected.keys[from]),
            close ? 1e-4 : 5e-2,
            `key ${from} of step ${s}`,
          );
        }
        queuePointer = expected.queue_ptr;
        if (s > 0 && (!isCalm || s < run.steps.length - 1)) continue; // reading all weights takes its time
        const gradients = await step.parameters.saveArena("gradient");
        const [encoderQ, encoderK] = [await step.save(), await step.saveKeyEncoder()];
        const largest = Math.max(...expected.gradient!.map(([, norm]) => norm));
        for (const [i, key] of (GOLDEN.parameters as string[]).entries()) {
          // In later steps single units' signs change whole percents of a tensor's gradient.
          if (s > 0) continue;
          assertFigures(
            gradients.get(key)!,
            expected.gradient![i],
            2e-3,
            1e-6 * largest,
            `gradient of ${key}`,
          );
        }
        for (const [i, key] of (GOLDEN.state as string[]).entries()) {
          if (key.endsWith("num_batches_tracked")) continue;
          const what = `${key} after step ${s}`;
          assertFigures(encoderQ.get(key)!, expected.encoder_q![i], 2e-4, 1e-6, `encoder_q ${what}`);
          assertFigures(encoderK.get(key)!, expected.encoder_k![i], 2e-5, 1e-6, `encoder_k ${what}`);
        }
      }
      // The rows of each batch are in another order where it was split.
      if (splits === 1) {
        assertFigures(await step.queues[0].read(), run.queue_after, isCalm ? 1e-4 : 1e-2, 1e-6, "queue");
      }
    }));
}

import { assert, assertAlmostEquals, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { FIXED_SCALE } from "../../../kernels/ops/loss_scale/loss_scale.ts";
import { classifierState, FinetuneStep, FrozenClassifier } from "../../../methods/finetune/step.ts";
import type { Encoder } from "../../../models/encoder.ts";
import { initialize } from "../../../models/initialize.ts";
import { findEncoder } from "../../../models/registry.ts";
import { TINY_ENCODER } from "../../actors/small_run.ts";
import { relativeError, withGpu } from "../../kernels/check_op.ts";
import { formulaImages, formulaReader } from "../../models/reference_encoder.ts";
import { GOLDEN_SEED } from "../../reference.ts";

await import(TINY_ENCODER);

/** How it was made is said in it. */
const EXPECTED = JSON.parse(
  Deno.readTextFileSync(new URL("../../golden/finetune_steps.json", import.meta.url)),
);

function norm(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

Deno.test("parity: three fine-tuning steps of a resnet18 at two learning rates equal PyTorch's", () =>
  withGpu(async (gpu) => {
    const { batch, image_size: imageSize, classes } = EXPECTED;
    const encoder = findEncoder("resnet18");
    const options = { encoder, classes, batch, imageSize, input: "normalized" } as const;
    using step = await FinetuneStep.create(gpu, { ...options, momentum: 0.9, weightDecay: 1e-4 });
    const state = classifierState(encoder, classes);
    await step.load(formulaReader([...state.encoder, ...state.classifier], "", GOLDEN_SEED));
    const labels = Array.from({ length: batch }, (_, row) => row % classes);
    let before = await step.save();
    for (let i = 0; i < 3; i++) {
      const images = formulaImages(`input/finetune${i}`, batch, imageSize, GOLDEN_SEED);
      const { loss, top1, isApplied } = await step.train({ images, labels, lr: 0.001, lrLastLayer: 0.02 });
      // PyTorch's own float32 is up to 2e-5 (losses), 1.3e-4 (logits) and 5e-3 (gradients) from these numbers in float64.
      const wanted = EXPECTED.losses[i];
      assertAlmostEquals(loss, wanted, (i === 0 ? 1e-5 : 1e-4) * wanted, `loss of step ${i}`);
      assertEquals([top1, isApplied], [EXPECTED.top1[i], true]);
      const logits = (await step.readLogits()).subarray(0, 2 * classes);
      const error = relativeError(logits, EXPECTED.logits[i]);
      assert(error <= (i === 0 ? 1e-4 : 1e-3), `logits of step ${i}: ${error}`);

      const tolerance = [1e-3, 5e-3, 2e-2][i];
      const gradients = await step.saveArena("gradient");
      assertEquals(gradients.size, Object.keys(EXPECTED.gradients[i]).length);
      for (const [key, gradient] of gradients) {
        const [sum, length] = EXPECTED.gradients[i][key];
        assertAlmostEquals(norm(gradient), length, tolerance * length, `gradient of ${key}, step ${i}`);
        const found = gradient.reduce((a, b) => a + b, 0);
        const bound = tolerance * length * Math.sqrt(gradient.length);
        assertAlmostEquals(found, sum, bound, `sum of the gradient of ${key}, step ${i}`);
      }
      const after = await step.save();
      for (const [key, [length, change]] of Object.entries<[number, number]>(EXPECTED.weights[i])) {
        const values = after.get(key)!;
        assertAlmostEquals(norm(values), length, 1e-4 * length, `${key} after step ${i}`);
        const old = before.get(key)!;
        // A change of a weight that is a thousand times as large has lost three of its seven digits.
        const rounding = 1e-7 * length;
        const found = norm(values.map((value, j) => value - old[j]));
        assertAlmostEquals(found, change, tolerance * change + rounding, `change of ${key} in step ${i}`);
      }
      for (const [key, length] of Object.entries<number>(EXPECTED.running[i])) {
        assertAlmostEquals(norm(after.get(key)!), length, 1e-4 * length, `${key} after step ${i}`);
      }
      before = after;
    }
    using frozen = await FrozenClassifier.create(gpu, options);
    await frozen.load((key) => before.get(key)!);
    const { loss } = await frozen.evaluate({
      images: formulaImages("input/finetune0", batch, imageSize, GOLDEN_SEED),
      labels,
    });
    assertAlmostEquals(loss, EXPECTED.eval_loss, 2e-3 * EXPECTED.eval_loss, "loss in eval mode");
  }));

/** Of the tests that have no reference. */
const SMALL = { classes: 4, batch: 6, imageSize: 16, input: "normalized" } as const;
const LABELS = [0, 1, 2, 3, 0, 1];

/** A tiny network with fresh weights. */
function smallOptions() {
  const encoder = findEncoder("tiny_convnet");
  const { encoder: trunk, classifier } = classifierState(encoder, SMALL.classes);
  const values = initialize([...trunk, ...classifier], 3);
  return { options: { encoder, ...SMALL, momentum: 0.9, weightDecay: 0 }, values };
}

Deno.test("FinetuneStep moves the encoder by --lr and the classifier by --lr-last-layer alone", () =>
  withGpu(async (gpu) => {
    const { options, values } = smallOptions();
    const images = formulaImages("input/a", SMALL.batch, SMALL.imageSize);
    const changed = async (lr: number, lrLastLayer: number) => {
      using step = await FinetuneStep.create(gpu, options);
      await step.load((key) => values.get(key)!);
      await step.train({ images, labels: LABELS, lr, lrLastLayer });
      const after = await step.save();
      return [...await step.saveArena("momentum")].flatMap(([key]) =>
        after.get(key)!.some((value, i) => value !== values.get(key)![i]) ? [key] : []
      );
    };
    assertEquals(await changed(0, 0.1), ["fc.weight", "fc.bias"]);
    const encoder = await changed(0.1, 0);
    assert(encoder.length > 0 && encoder.every((key) => key.startsWith("layer")), encoder.join());
    assertEquals(await changed(0, 0), []);
  }));

Deno.test("FinetuneStep leaves out an encoder's head, batch norm and all, as SWAV's and SimCLR's have", () =>
  withGpu(async (gpu) => {
    const small = smallOptions();
    const encoder: Encoder = {
      ...small.options.encoder,
      name: "tiny with a batch norm in its head",
      head: "mlp_bn",
    };
    const images = formulaImages("input/a", SMALL.batch, SMALL.imageSize);
    const trained = async (options: typeof small.options) => {
      using step = await FinetuneStep.create(gpu, options);
      await step.load((key) => small.values.get(key)!);
      const { loss } = await step.train({ images, labels: LABELS, lr: 0.1, lrLastLayer: 0.1 });
      return { loss, weights: await step.save() };
    };
    // The head changes nothing of what there is without it.
    assertEquals(await trained({ ...small.options, encoder }), await trained(small.options));
  }));

Deno.test("FinetuneStep drops values before the classifier in training, as the encoder's authors do", () =>
  withGpu(async (gpu) => {
    const { options: { encoder, ...small }, values } = smallOptions();
    const classes = encoder.features; // the classifier's outputs are the feature's values
    const weights = new Map(values).set("fc.bias", new Float32Array(classes)).set(
      "fc.weight",
      Float32Array.from({ length: classes ** 2 }, (_, i) => i % (classes + 1) === 0 ? 1 : 0),
    );
    const images = formulaImages("input/a", small.batch, small.imageSize);
    const logitsWith = async (headDropout: number | undefined, dropoutSeed?: number, step = 0) => {
      const options = { ...small, encoder: { ...encoder, headDropout }, classes };
      using trained = await FinetuneStep.create(gpu, { ...options, dropoutSeed });
      await trained.load((key) => weights.get(key)!);
      await trained.train({ images, labels: LABELS, lr: 0, lrLastLayer: 0, step });
      using frozen = await FrozenClassifier.create(gpu, options);
      await frozen.load((key) => weights.get(key)!);
      const { loss } = await frozen.evaluate({ images, labels: LABELS });
      return { logits: await trained.readLogits(), loss };
    };
    const plain = await logitsWith(undefined, 5);
    assertEquals(await logitsWith(0, 5), plain);
    assertEquals(await logitsWith(0.25), plain);
    const ofSteps = [];
    for (let step = 0; step < 4; step++) ofSteps.push(await logitsWith(0.25, 5, step));
    let [dropped, all] = [0, 0];
    for (const { logits, loss } of ofSteps) {
      assertEquals(loss, plain.loss, "an evaluation drops nothing");
      for (const [i, value] of plain.logits.entries()) {
        if (value === 0) continue;
        all++;
        if (logits[i] === 0) dropped++;
        else assertAlmostEquals(logits[i], value / 0.75, 1e-5 * Math.abs(value));
      }
    }
    assert(all > 150, `${all} values`);
    assertAlmostEquals(dropped / all, 0.25, 0.1);
    assertNotEquals(ofSteps[1].logits, ofSteps[0].logits);
  }));

Deno.test("EfficientNets and MobileNetV3 are fine-tuned with the original's dropout, others without", () => {
  // efficientnet.py of the original: b0 to b7; mobilenetv3.py.
  const rates = [0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5];
  for (const [scale, rate] of rates.entries()) {
    const { headDropout, cifar } = findEncoder(`efficientnet_b${scale}`);
    assertEquals([headDropout, cifar?.headDropout], [rate, rate]);
  }
  for (const size of ["small", "large"]) assertEquals(findEncoder(`mobilenetv3_${size}`).headDropout, 0.2);
  for (const name of ["resnet18", "vit_tiny"]) assertEquals(findEncoder(name).headDropout, undefined);
});

Deno.test("FinetuneStep goes on from saved weights and momentum to the same bits", () =>
  withGpu(async (gpu) => {
    const { options, values } = smallOptions();
    const batchOf = (i: number) => ({
      images: formulaImages(`input/${i}`, SMALL.batch, SMALL.imageSize),
      labels: LABELS,
      lr: 0.05,
      lrLastLayer: 0.5,
    });
    using whole = await FinetuneStep.create(gpu, options);
    await whole.load((key) => values.get(key)!);
    for (let i = 0; i < 3; i++) await whole.train(batchOf(i));
    using resumed = await FinetuneStep.create(gpu, { ...options, steps: 3 });
    const saved = await whole.save();
    assertNotEquals(saved, values);
    await resumed.load((key) => saved.get(key)!);
    resumed.loadArena("momentum", await whole.saveArena("momentum"));
    const results = [];
    for (const step of [whole, resumed]) results.push(await step.train(batchOf(3)));
    assertEquals(results[0], results[1]);
    assertEquals(await resumed.save(), await whole.save());
    assertEquals(await resumed.saveArena("momentum"), await whole.saveArena("momentum"));
  }));

Deno.test("FinetuneStep changes no weights where the images are NaN, and counts that where it is told to", () =>
  withGpu(async (gpu) => {
    const { options, values } = smallOptions();
    const lossScale = { scale: 1, goodSteps: 0, skipped: 0 };
    using step = await FinetuneStep.create(gpu, { ...options, lossScale, lossScaleRule: FIXED_SCALE });
    await step.load((key) => values.get(key)!);
    const images = formulaImages("input/a", SMALL.batch, SMALL.imageSize);
    const batch = { labels: LABELS, lr: 0.1, lrLastLayer: 0.1 };
    const spoilt = await step.train({ ...batch, images: images.map((value, i) => i === 9 ? NaN : value) });
    assertEquals([spoilt.loss, spoilt.isApplied], [NaN, false]);
    assertEquals(spoilt.lossScale, { ...lossScale, skipped: 1 });
    const after = await step.save();
    for (const [key] of await step.saveArena("momentum")) assertEquals(after.get(key), values.get(key), key);
    assert((await step.train({ ...batch, images })).isApplied);
    assertThrows(() => step.train({ ...batch, images, labels: [0, 1] }), Error, "expected 6 labels, got 2");
  }));

Deno.test("FrozenClassifier looks at the images that have a label alone", () =>
  withGpu(async (gpu) => {
    const { options, values } = smallOptions();
    using frozen = await FrozenClassifier.create(gpu, options);
    await frozen.load((key) => values.get(key)!);
    const images = formulaImages("input/a", SMALL.batch, SMALL.imageSize);
    const [all, some] = [LABELS, LABELS.slice(0, 2)];
    const results = await Promise.all([all, some].map((labels) => frozen.evaluate({ images, labels })));
    // What lies behind them must not matter.
    const others = images.map((value, i) => i < images.length / 3 ? value : -value);
    assertEquals(await frozen.evaluate({ images: others, labels: some }), results[1]);
    assertNotEquals((await frozen.evaluate({ images: others, labels: all })).loss, results[0].loss);
  }));

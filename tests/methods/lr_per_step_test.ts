/** Runs whose learning rate changes with every step. */
import { assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { StoppedError } from "../../actors/stopped_error.ts";
import { distill, finetune, pretrain, SAMPLE_TEACHER } from "../../mod.ts";
import { samplePretrainOptions } from "../../methods/moco/defaults.ts";
import { sampleOptions } from "../../methods/seed/defaults.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import type { TorchDict } from "../../models/checkpoint/torch_value.ts";
import { RunFolder, TINY_ENCODER } from "../actors/small_run.ts";

/** Two batches an epoch, of which the first two epochs warm up and the others follow a cosine. */
const SCHEDULE = { epochs: 4, batchSize: 16, lr: 0.08, scaleLr: true, warmupEpochs: 2, lrPerStep: true };
const PEAK = 0.08 * 16 / 256;
const COSINE = [0, 0.5, 1, 1.5].map((epoch) => 0.5 * (1 + Math.cos(Math.PI * epoch / 2)));
const RATES = [...[0, 0.25, 0.5, 0.75], ...COSINE].map((share) => share * PEAK);

const OTHER = { testData: null, plugins: [TINY_ENCODER], insight: false, workers: 1 };

const VIT = "dino_vit_p4_w64_b2_h1_f64_r0_g2";

function assertRates(found: readonly number[], expected: readonly number[]): void {
  assertEquals(found.length, expected.length);
  for (const [step, rate] of expected.entries()) assertAlmostEquals(found[step], rate, 1e-12, `step ${step}`);
}

Deno.test("--lr-per-step gives each step of a distillation its own rate, and goes on with it within an epoch", async () => {
  using folder = new RunFolder(36);
  const output = folder.makeOutput("run");
  const options = sampleOptions({
    ...SCHEDULE,
    ...OTHER,
    data: folder.data,
    output,
    studentArch: "tiny_convnet",
    imageSize: 24,
    queue: 32,
  });
  const rates: number[] = [];
  const runs = [{ limitSteps: 3 }, { limitSteps: null, resume: "auto" }];
  for (const run of runs) {
    for await (const event of distill({ ...options, ...run })) {
      if (event.type === "step") rates.push(event.lr);
    }
  }
  assertRates(rates, RATES);
});

Deno.test("--lr-per-step gives each step of a pretraining its own rate: that of the first of the batches that accumulate", async () => {
  using folder = new RunFolder(72);
  // Two steps an epoch, as those of twice as many images: of two batches each.
  const options = samplePretrainOptions({
    ...SCHEDULE,
    ...OTHER,
    accumulate: 2,
    lr: 0.04,
    data: folder.data,
    output: folder.makeOutput("run"),
    arch: "tiny_convnet",
    mocoK: 32,
    imageSize: 24,
  });
  const rates: number[] = [];
  for await (const event of pretrain(options)) if (event.type === "step") rates.push(event.lr);
  assertRates(rates, RATES.flatMap((rate) => [rate, rate]));
});

Deno.test("--lr-per-step gives each step of a fine-tuning both of its rates, and goes on with them within an epoch", async () => {
  using folder = new RunFolder(72, 8);
  const options = {
    ...{ ...SCHEDULE, accumulate: 2, lr: 0.04, lrLastLayer: 0.4, cos: true },
    ...{ arch: "tiny_convnet", plugins: [TINY_ENCODER], pretrained: null, imageSize: 24, workers: 1 },
    ...{ data: folder.data, testData: join(folder.data, "test.tsv"), output: folder.makeOutput("run") },
  };
  const rates: number[] = [];
  const ofClassifier: number[] = [];
  const enough = new AbortController();
  const train = async (resume: "auto" | null, signal?: AbortSignal) => {
    const run = finetune({ ...options, resume }, { signal });
    for await (const event of run) {
      if (event.type !== "step") continue;
      rates.push(event.lr);
      ofClassifier.push(event.lrLastLayer);
      if (event.step === 2) enough.abort();
    }
    return await run.result;
  };
  await assertRejects(() => train(null, enough.signal), StoppedError);
  const { checkpoint } = await train("auto");
  const expected = RATES.flatMap((rate) => [rate, rate]);
  assertRates(rates, expected);
  assertRates(ofClassifier, expected.map((rate) => 10 * rate));
  using file = await openCheckpointFile(checkpoint!);
  const optimizer = (file.value as TorchDict).get("optimizer") as TorchDict;
  const groups = optimizer.get("param_groups") as TorchDict[];
  assertRates(groups.map((group) => group.get("lr") as number), [RATES.at(-1)!, 10 * RATES.at(-1)!]);
});

Deno.test("AdamW has a rate by step on images of one's own, from 0; MoCo-v3's 10 epochs of warm-up in a pretraining", async () => {
  using folder = new RunFolder(32, 8);
  const shared = {
    data: folder.data,
    testData: null,
    insight: false,
    workers: 1,
    batchSize: 8,
    imageSize: 8,
  };
  const scaled = 8 / 256;
  const rates: number[] = [];
  const pretraining = {
    ...shared,
    output: folder.makeOutput("pretraining"),
    arch: VIT,
    mocoK: 16,
    limitSteps: 5,
  };
  for await (const event of pretrain(pretraining)) if (event.type === "step") rates.push(event.lr);
  assertRates(rates, [0, 1, 2, 3, 4].map((step) => step / 4 / 10 * 1.5e-4 * scaled));

  const distillation = { ...shared, output: folder.makeOutput("distillation"), studentArch: VIT, queue: 16 };
  const taught: number[] = [];
  for await (
    const event of distill({ ...distillation, distill: SAMPLE_TEACHER, teacherSize: 32, limitSteps: 5 })
  ) if (event.type === "step") taught.push(event.lr);
  assertRates(taught, [0, 1, 2, 3, 4].map((step) => step / 4 / 5 * 5e-4 * scaled));

  const { insight: _, ...tuning } = { ...shared, testData: join(folder.data, "test.tsv") };
  const tuned: number[] = [];
  const output = folder.makeOutput("fine-tuning");
  for await (const event of finetune({ ...tuning, output, pretrained: null, arch: VIT, epochs: 2 })) {
    if (event.type === "step") tuned.push(event.lr);
  }
  assertRates(tuned, [0, 1, 2, 3, 4, 5, 6, 7].map((step) => step / 4 / 5 * 1e-4));
});

// Weights that are not finite: refused by every task, never written, and what was finite before is kept.
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { runDistillation } from "../../methods/seed/run.ts";
import { warnOfLargeLoss } from "../../methods/linear_probe/divergence.ts";
import type { LinearEpoch } from "../../methods/linear_probe/events.ts";
import { runLinearEvaluation } from "../../methods/linear_probe/run.ts";
import { LINEAR_SAMPLE_DEFAULTS, type LinearOptions } from "../../methods/linear_probe/options.ts";
import { linearCheckpointName } from "../../methods/linear_probe/linear_trainer.ts";
import { BEST_CHECKPOINT } from "../../models/checkpoint/run_checkpoints.ts";
import { ActorCrash } from "../../actors/runtime/mod.ts";
import { isOneThread } from "../../actors/one_thread.ts";
import { actorUrl } from "../../actors/catalog.ts";
import type encoder from "../../actors/encoder.ts";
import type { EncoderConfig } from "../../actors/encoder.ts";
import type { Sink } from "../../actors/messages.ts";
import { embed, knn, linearProbe } from "../../methods/runs.ts";
import { printWarning } from "../../cli/commands/training.ts";
import { METHODS } from "../../methods/registry.ts";
import { findCheckpointToResume } from "../../methods/resume_auto.ts";
import { SAMPLE_TEACHER } from "../../data/sample.ts";
import { UserError } from "../../errors.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { readLinearCheckpoint } from "../../methods/linear_probe/checkpoint.ts";
import { checkpointFileName } from "../../methods/seed/checkpoint.ts";
import { listCheckpoints } from "../../models/checkpoint/run_checkpoints.ts";
import { spoil } from "../models/checkpoint/spoil.ts";
import { referencePath } from "../reference.ts";
import { digestFile, RunFolder, TINY_ENCODER, TINY_TEACHER } from "./small_run.ts";
import { hear } from "./hear.ts";
import { until, withSystem } from "./runtime/helpers.ts";
import { batchOf } from "./single_colours.ts";

/** What `console.error` is told while something runs. */
async function errorsOf<T>(work: () => Promise<T>): Promise<{ result: T; errors: string[] }> {
  const errors: string[] = [];
  const { error } = console;
  console.error = (text: string) => errors.push(text);
  try {
    return { result: await work(), errors };
  } finally {
    console.error = error;
  }
}

Deno.test("a distillation refuses a teacher, a start and a checkpoint that are not finite, before it begins", async () => {
  using folder = new RunFolder(4);
  const { checkpoint } = await runDistillation(folder.options("whole"));
  const refused = async (changes: Parameters<RunFolder["options"]>[1], expected: string) => {
    let began = false;
    const { message } = await assertRejects(
      () => runDistillation(folder.options(crypto.randomUUID(), changes), hear({ plan: () => began = true })),
      CheckpointError,
    );
    assertStringIncludes(message, `${path}: ${expected}`);
    assert(!began);
  };
  const path = join(folder.path, "spoilt.pth.tar");
  await spoil(TINY_TEACHER, path, { "encoder_q.layer1.conv.weight": { 20: NaN } });
  await refused({ distill: path }, "layer1.conv.weight holds NaN at index 20");
  await spoil(checkpoint, path, { "student.layer2.conv.weight": { 5: Infinity } });
  await refused({ studentInit: path }, "layer2.conv.weight holds Infinity at index 5");
  await refused({ resume: path, epochs: 2 }, "layer2.conv.weight holds Infinity at index 5");
});

Deno.test("--resume auto passes over checkpoints that are not finite, with a note", async () => {
  using folder = new RunFolder(4);
  const whole = referencePath("checkpoints/seed_student.zip.pth.tar");
  const [first, second] = [0, 1].map((epoch) => join(folder.data, checkpointFileName(epoch)));
  for (const path of [first, second]) Deno.copyFileSync(whole, path);
  const search = () => findCheckpointToResume(folder.data, METHODS.seed, printWarning);
  const find = () => errorsOf(search);
  assertEquals(await find(), { result: second, errors: [] });
  for (
    const [name, described] of [
      ["student.conv1.weight", "conv1.weight"],
      ["student.bn1.running_mean", "bn1.running_mean"],
      ["module.queue", "queue"],
    ]
  ) {
    await spoil(whole, second, { [name]: { 2: NaN } });
    const { result, errors: [note] } = await find();
    assertEquals(result, first);
    assertStringIncludes(
      note,
      `warning: --resume auto skips a checkpoint: ${second}: ${described} holds NaN at index 2`,
    );
  }
  await spoil(whole, first, { "student.conv1.weight": { 0: -Infinity } });
  const { message } = await assertRejects(search, UserError);
  assertMatch(message, /^--resume auto: no usable checkpoint in .*, e\.g\. .*queue holds NaN/);
});

Deno.test("a run that diverges keeps its last finite checkpoint, and names the settings that it had", async () => {
  using folder = new RunFolder(8);
  const settings = { epochs: 3, scaleLr: false, warmupEpochs: 0, saveEvery: { steps: 1 }, keep: 1 };
  const good = folder.options("out", settings);
  await runDistillation({ ...good, limitSteps: 1 });
  const [{ path: before }] = await listCheckpoints(good.output);
  const digest = await digestFile(before);
  // A rate that is infinite as a float32: the weights after the next step are not finite, though its loss and gradients are.
  const crash = await assertRejects(() => runDistillation({ ...good, resume: before, lr: 1e39 }), ActorCrash);
  assertEquals([crash.actor, crash.isUserError], ["student_trainer", true]);
  assertMatch(
    crash.failure.message,
    /^the student's \S+ holds \S+ at index \d+ .* after epoch 0, batch 1: training has diverged, so no checkpoint is written/,
  );
  assertMatch(
    crash.failure.message,
    /lower --lr \(now 1e\+39\), a higher --distill-t \(now 0\.01\), or --on-nan skip$/,
  );
  // A loss without temperatures has other advice.
  const cosine = folder.options("cosine", { ...settings, lr: 1e39, loss: "cosine" });
  const { failure } = await assertRejects(() => runDistillation(cosine), ActorCrash);
  assertMatch(failure.message, /; try a lower --lr \(now 1e\+39\) or --on-nan skip$/);
  // It would have had the same name.
  assertEquals((await listCheckpoints(good.output)).map(({ path }) => path), [before]);
  assertEquals(await digestFile(before), digest);
});

Deno.test("an encoder whose output for small views alone is not finite says so", async () => {
  using folder = new RunFolder(1);
  const path = join(folder.path, "large.pth.tar");
  // Two layers overflow float32 one after the other. The first is of red, which ReLU keeps from black images.
  await spoil(TINY_TEACHER, path, {
    "encoder_q.layer1.conv.weight": { 0: 1e30 },
    "encoder_q.layer2.conv.weight": { 0: 1e30 },
  });
  const [rows, views, imageSize] = [2, 3, 8];
  const encode = (lastView: number) =>
    withSystem(async (system) => {
      let isEncoded = false;
      const next = system.listen<Sink>("sink", { consume: () => void (isEncoded = true) });
      const config: EncoderConfig = {
        encoder: { path, arch: "tiny_convnet" },
        output: "feature",
        batchSize: rows,
        imageSize: 2 * imageSize,
        local: { views, imageSize },
        next,
      };
      const { ref } = system.spawn<typeof encoder>("teacher_encoder", actorUrl("encoder"), config);
      const small = new Uint8Array(rows * views * imageSize ** 2 * 4);
      small.fill(lastView, -(imageSize ** 2) * 4);
      await ref.tell("encode", {
        ...batchOf(0, rows, "train", 2 * imageSize),
        views: new ArrayBuffer(rows * (2 * imageSize) ** 2 * 4),
        embeddings: new ArrayBuffer(rows * 8 * 4),
        local: { views: small.buffer, embeddings: new ArrayBuffer(rows * views * 8 * 4) },
      });
      await until(() => isEncoded);
    }, { oneThread: isOneThread(), imports: [TINY_ENCODER] });
  await encode(0);
  const crash = await assertRejects(() => encode(255), ActorCrash);
  assertEquals([crash.actor, crash.isUserError], ["teacher_encoder", true]);
  assertMatch(crash.failure.message, /^row 2: the encoder's output holds (Infinity|NaN) at index 0\. /);
});

Deno.test("embed, knn and linearProbe refuse weights that are not finite", async () => {
  using folder = new RunFolder(8, 8);
  const [train, test] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const pretrained = join(folder.path, "spoilt.pth.tar");
  await spoil(SAMPLE_TEACHER, pretrained, { "encoder_q.bn1.running_var": { 0: NaN } });
  const size = { imageSize: 32 };
  const output = folder.makeOutput("lincls");
  const runs = [
    () => embed({ pretrained, data: train, ...size }),
    () => knn({ pretrained, data: train, testData: test, knnK: [1], ...size }),
    () => linearProbe({ pretrained, data: train, testData: test, output, ...size }),
  ];
  for (const start of runs) {
    const { message } = await assertRejects(() => start().result, Error);
    assertStringIncludes(
      message,
      `${pretrained}: bn1.running_var holds NaN at index 0 (1 value is not finite)`,
    );
  }
});

function linearOptions(folder: RunFolder, name: string, changes: Partial<LinearOptions>): LinearOptions {
  return {
    ...LINEAR_SAMPLE_DEFAULTS,
    ...folder.labelledOptions(name),
    pretrained: null,
    epochs: 2,
    batchSize: 8,
    lr: [0.03],
    cacheFeatures: true,
    resume: null,
    evaluate: false,
    classes: null,
    ...changes,
  };
}

Deno.test("a learning rate that diverges is said, is never the best, is not written, and does not end the others", async () => {
  using folder = new RunFolder(16, 2); // two of classes that are learnt, so that nothing else is warned of
  const warnings: string[] = [];
  const losses: number[] = [];
  const options = linearOptions(folder, "both", { lr: [1e39, 0.03] });
  const both = await runLinearEvaluation(
    options,
    hear({
      warning: ({ text, isCommon }) => warnings.push(`${isCommon ? "all: " : ""}${text}`),
      step: ({ score }) => losses.push(score.loss),
    }),
  );
  assertEquals(both.scores.map(({ diverged }) => diverged), [true, false]);
  assertEquals(both.chosen, 1);
  assertEquals(warnings.length, 1);
  assertMatch(warnings[0], /^all: learning rate 1e\+39 has diverged: its loss is \S+ in epoch 0, batch 1\. /);
  assert(losses.every(Number.isFinite), "the loss that is shown is of one that has not diverged");
  for (const path of [both.checkpoint!, join(options.output, BEST_CHECKPOINT)]) {
    using file = await openCheckpointFile(path);
    const { probes } = await readLinearCheckpoint(file, 1);
    assertEquals(probes.map(({ values, momentum }) => [values.size, momentum.size]), [[0, 0], [2, 2]]);
  }
  // And a resumed run knows it: it is what an unbroken one would have been.
  const longer = { ...options, epochs: 3 };
  const epochsOf = async (options: LinearOptions) => {
    const epochs: LinearEpoch[] = [];
    const result = await runLinearEvaluation(options, hear({ epoch: (epoch) => epochs.push(epoch) }));
    return { epochs, ...result };
  };
  const resumed = await epochsOf({ ...longer, resume: both.checkpoint });
  assertEquals(resumed.scores.map(({ diverged }) => diverged), [true, false]);
  const whole = await epochsOf({ ...longer, output: folder.makeOutput("whole") });
  assertEquals(resumed.epochs, whole.epochs.slice(2));
  assertEquals(resumed.scores, whole.scores);
  assertEquals(await digestFile(resumed.checkpoint!), await digestFile(whole.checkpoint!));
  await assertRejects(
    () => runLinearEvaluation({ ...options, lr: [1e39], epochs: 4, resume: resumed.checkpoint }),
    CheckpointError,
    "have diverged; use --lr 0.03",
  );
});

Deno.test("a linear evaluation whose learning rates all diverge ends with an error, and saves its last whole epoch", async () => {
  using folder = new RunFolder(16, 8);
  // One step an epoch: the third one's momentum is infinite.
  const options = linearOptions(folder, "out", { lr: [0.03, 0.1], batchSize: 16, momentum: 1e20, epochs: 4 });
  const { message } = await assertRejects(() => runLinearEvaluation(options), UserError);
  assertMatch(
    message,
    /^the loss is NaN in .*: every learning rate \(0\.03, 0\.1\) has diverged\. .*intact; try a lower --lr \(now 0\.1, 0\.0625 in this epoch\)$/,
  );
  for (const name of [linearCheckpointName(1), BEST_CHECKPOINT]) {
    using file = await openCheckpointFile(join(options.output, name));
    const { probes } = await readLinearCheckpoint(file, 1);
    assertEquals(probes.map(({ values, momentum }) => [values.size, momentum.size]), [[2, 2], [2, 2]]);
  }
});

Deno.test("warnOfLargeLoss() speaks where the loss is far above that of guessing, and the accuracy is not", () => {
  const warned = (loss: number, top1: number) => {
    const texts: string[] = [];
    warnOfLargeLoss({ lr: 30, last: { loss, top1, top5: 50 } }, 10, ({ text }) => texts.push(text));
    return texts;
  };
  assertMatch(
    warned(1.9e8, 10)[0],
    /^the loss is 1\.90e\+8 \(chance: 2\.30\) .* lower --lr \(now 30\)$/,
  );
  assertEquals(warned(1.9e8, 60), []);
  assertEquals(warned(2.5, 10), []);
});

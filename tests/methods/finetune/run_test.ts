// The whole recipe, with every part real, on a few rows of the bundled images.
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { basename, join } from "node:path";
import { StoppedError } from "../../../actors/stopped_error.ts";
import type { ActorSystem } from "../../../actors/runtime/mod.ts";
import { UserError } from "../../../errors.ts";
import { chooseLabelFraction } from "../../../data/label_fraction.ts";
import { openDataset } from "../../../data/open_dataset.ts";
import type { FinetuneEpoch, FinetunePlan, FinetuneStep } from "../../../methods/finetune/events.ts";
import { BEST_CHECKPOINT } from "../../../models/checkpoint/run_checkpoints.ts";
import { FINETUNE_SAMPLE_DEFAULTS, type FinetuneOptions } from "../../../methods/finetune/options.ts";
import { type FinetuneResult, runFinetune } from "../../../methods/finetune/run.ts";
import { findStart } from "../../../methods/finetune/prepare.ts";
import { readFinetuneCheckpoint } from "../../../methods/finetune/checkpoint.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import { TensorValue, type TorchDict } from "../../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import { openEncoderSource } from "../../../models/encoder_source.ts";
import { digestFile, RunFolder, TINY_TEACHER } from "../../actors/small_run.ts";
import { hear } from "../../actors/hear.ts";
import { IS_LONG } from "../../long.ts";

function optionsIn(
  folder: RunFolder,
  name: string,
  changes: Partial<FinetuneOptions> = {},
): FinetuneOptions {
  return {
    ...FINETUNE_SAMPLE_DEFAULTS,
    ...folder.labelledOptions(name),
    epochs: 3,
    schedule: [2],
    lrLastLayer: 0.2,
    batchSize: 4,
    resume: null,
    evaluate: false,
    classes: null,
    ...changes,
  };
}

interface Ran {
  result: FinetuneResult;
  plan: FinetunePlan;
  steps: FinetuneStep[];
  epochs: FinetuneEpoch[];
  notes: string[];
}

async function run(
  options: FinetuneOptions,
  onStep: (step: FinetuneStep) => void = () => {},
  signal?: AbortSignal,
  ran: Partial<Ran> = {},
): Promise<Ran> {
  const [steps, epochs, notes]: [FinetuneStep[], FinetuneEpoch[], string[]] = [[], [], []];
  Object.assign(ran, { steps, epochs, notes });
  ran.result = await runFinetune(
    options,
    hear({
      plan: (plan) => ran.plan = plan,
      step(step) {
        steps.push(step);
        onStep(step);
      },
      epoch: (epoch) => epochs.push(epoch),
      note: ({ text }) => notes.push(text),
    }),
    signal,
  );
  return ran as Ran;
}

/** Of an epoch of the run that is made once. */
const BATCHES = 18;

let shared: Promise<{ folder: RunFolder; ran: Ran }> | undefined;

/** A run by one reader, made once for all that compare with it: 72 images are 18 batches of 4. */
function unbroken(): Promise<{ folder: RunFolder; ran: Ran }> {
  return shared ??= (async () => {
    const folder = new RunFolder(72, 40);
    return { folder, ran: await run(optionsIn(folder, "unbroken")) };
  })();
}

Deno.test.afterAll(async () => (await shared)?.folder[Symbol.dispose]());

Deno.test("runFinetune() trains whole batches at both rates, and tests every epoch", async () => {
  const { ran: { steps, epochs, plan, result } } = await unbroken();
  assertEquals([plan.batchesPerEpoch, plan.firstStep, plan.testsFirst], [BATCHES, 0, false]);
  assertEquals(steps.map(({ step }) => step), Array.from({ length: 3 * BATCHES }, (_, i) => i + 1));
  assertEquals(steps.map(({ epoch }) => epoch), steps.map((_, i) => Math.floor(i / BATCHES)));
  assertEquals([epochs[0].lr, epochs[0].lrLastLayer], [0.01, 0.2]);
  // Multiplied by --gamma at epoch 2.
  assertEquals([epochs[1].lr, epochs[2].lr, epochs[2].lrLastLayer], [0.01, 0.002, 0.2 * 0.2]);
  for (const [i, { trained, tested }] of epochs.entries()) {
    const ofEpoch = steps.slice(BATCHES * i, BATCHES * (i + 1));
    const mean = (of: (step: FinetuneStep) => number) =>
      ofEpoch.reduce((sum, step) => sum + of(step) / BATCHES, 0);
    assertAlmostEquals(trained!.loss, mean(({ score }) => score.loss), 1e-9);
    assertAlmostEquals(trained!.top1, mean(({ score }) => score.top1), 1e-9);
    assertAlmostEquals(tested.top1 * 40 / 100 % 1, 0, 1e-9);
  }
  assertEquals(result.best, Math.max(...epochs.map(({ tested }) => tested.top1)));
  assertEquals(result.last, epochs[2].tested);
  assert(epochs[2].trained!.loss < epochs[0].trained!.loss);
});

Deno.test("runFinetune() has the same weights wherever decoded images are kept", {
  ignore: !IS_LONG, // a distillation keeps them in the same way
}, async () => {
  const { folder, ran: whole } = await unbroken();
  assertMatch(whole.plan.cache, /^\d+ kB of memory for train\.tsv; \d+ kB of memory for test\.tsv$/);
  const cache = join(folder.path, "images.cache");
  for (const [name, found] of [["off", "off"], ["empty", "with 0 of 72"], ["full", "with 72 of 72"]]) {
    const { plan, result } = await run(optionsIn(folder, name, { cache: name === "off" ? name : cache }));
    assert(plan.cache.includes(found), `${name}: ${plan.cache}`);
    assertEquals(await digestFile(result.checkpoint!), await digestFile(whole.result.checkpoint!), name);
  }
});

Deno.test("runFinetune() gives the same bits for any number of readers, and when it is stopped within an epoch and resumed", async () => {
  const { folder, ran: whole } = await unbroken();
  // Three readers until it is stopped, two when it is resumed.
  const stopped = optionsIn(folder, "stopped", { workers: 3 });
  const controller = new AbortController();
  const before: Partial<Ran> = {};
  const enough = ({ step }: FinetuneStep) => {
    if (step === BATCHES + 3) controller.abort(new Error("enough"));
  };
  const { checkpoint } = await assertRejects(
    () => run(stopped, enough, controller.signal, before),
    StoppedError,
    "enough",
  );
  const names = [...Deno.readDirSync(stopped.output)].map(({ name }) => name).toSorted();
  assertEquals([names, checkpoint], [
    ["finetune_checkpoint_0001.pth.tar", BEST_CHECKPOINT],
    join(stopped.output, "finetune_checkpoint_0001.pth.tar"),
  ]);
  // It has no weights of an epoch's end.
  for (const isUnfinished of [false, true]) {
    await assertRejects(
      () => runFinetune({ ...stopped, epochs: 1, resume: checkpoint }, undefined, undefined, isUnfinished),
      UserError,
      `${checkpoint}: was stopped within epoch 1, which --epochs 1 leaves out; use --epochs 2 or more`,
    );
  }
  // Without --pretrained: the checkpoint has the encoder.
  const resumed = await run({ ...stopped, workers: 2, resume: checkpoint, pretrained: null });
  const { firstStep, testsFirst } = resumed.plan;
  assert(firstStep > BATCHES && firstStep < 2 * BATCHES && !testsFirst, `stopped at step ${firstStep}`);
  assertEquals([...before.steps!, ...resumed.steps], whole.steps);
  assertEquals([...before.epochs!, ...resumed.epochs], whole.epochs);
  assertEquals(resumed.result.last, whole.result.last);
  const digests = [resumed, whole].map(({ result }) => digestFile(result.checkpoint!));
  assertEquals(await digests[0], await digests[1]);
});

Deno.test("runFinetune() that is stopped between an epoch and its test makes that test when it is resumed", async () => {
  const { folder, ran: whole } = await unbroken();
  const stopped = optionsIn(folder, "untested");
  const controller = new AbortController();
  const before: Partial<Ran> = {};
  const enough = ({ step }: FinetuneStep) => {
    if (step === 2 * BATCHES) controller.abort(new Error("enough"));
  };
  const { checkpoint } = await assertRejects(
    () => run(stopped, enough, controller.signal, before),
    StoppedError,
  );
  const resumed = await run({ ...stopped, resume: checkpoint });
  assertEquals([resumed.plan.firstStep, resumed.plan.testsFirst], [2 * BATCHES, true]);
  assertEquals([...before.steps!, ...resumed.steps], whole.steps);
  assertEquals([...before.epochs!, ...resumed.epochs], whole.epochs);
  assertEquals(await digestFile(resumed.result.checkpoint!), await digestFile(whole.result.checkpoint!));
});

Deno.test("runFinetune() goes on when an actor crashes, to the same bits, and tells nothing twice", async () => {
  const { folder, ran: whole } = await unbroken();
  const victims = ["train_augmenter", "finetune_trainer"];
  let actors: ActorSystem["actors"];
  const steps: FinetuneStep[] = [];
  const warnings: string[] = [];
  const result = await runFinetune(
    optionsIn(folder, "broken"),
    hear({
      actors: (event) => actors = event.actors,
      step(step) {
        steps.push(step);
        if (step.step % BATCHES === 2) actors.get(victims.shift()!)?.crash(new TypeError("bad luck"));
      },
      warning: ({ text }) => warnings.push(text),
    }),
  );
  assertEquals(steps, whole.steps);
  assertEquals(result.last, whole.result.last);
  assertEquals(await digestFile(result.checkpoint!), await digestFile(whole.result.checkpoint!));
  assertEquals(warnings.map((text) => text.slice(0, text.indexOf(" crashed"))), [
    'actor "train_augmenter"',
    'actor "finetune_trainer"',
  ]);
});

Deno.test("runFinetune() writes torchvision's keys, which are the encoder of every other task", async () => {
  const { ran: { result, epochs }, folder } = await unbroken();
  using before = await loadStateDict(TINY_TEACHER);
  using file = await openCheckpointFile(result.checkpoint!);
  const root = file.value as Map<string, unknown>;
  assertEquals([...root.keys()].slice(0, 5), ["epoch", "arch", "state_dict", "best_acc1", "optimizer"]);
  const keys = [...(root.get("state_dict") as Map<string, unknown>).keys()] as string[];
  assert(keys.every((key) => key.startsWith("module.")));
  assertEquals(keys.slice(-2), ["module.fc.weight", "module.fc.bias"]);
  const groups = (root.get("optimizer") as Map<string, Map<string, unknown>[]>).get("param_groups")!;
  // SwAV's two groups: six parameters of the encoder, and the classifier's two.
  assertEquals(groups.map((group) => group.get("params")), [[0, 1, 2, 3, 4, 5], [6, 7]]);
  const saved = readFinetuneCheckpoint(file);
  assertEquals([saved.epoch, saved.best, saved.classes], [3, result.best, 10]);
  assertEquals([...await saved.tensors.get("layer1.bn.num_batches_tracked")!.read()], [3 * BATCHES]);

  using source = await openEncoderSource(result.checkpoint!, { part: "backbone" });
  assertEquals([source.encoder.name, source.epoch, source.input?.imageSize], ["tiny_convnet", 3, 32]);
  // The encoder was trained, its running statistics too.
  for (const [key, tensor] of source.tensors) {
    if (key.endsWith("num_batches_tracked")) continue;
    assertNotEquals(await tensor.read(), await before.tensors.get(key)!.read(), key);
  }
  // The best epoch's file gives its accuracy again, and on other images of the same classes.
  const best = join(folder.path, "unbroken", BEST_CHECKPOINT);
  const again = await run(optionsIn(folder, "again", { pretrained: null, resume: best, evaluate: true }));
  assertEquals([again.result.last.top1, again.result.checkpoint], [result.best, null]);
  assertEquals([...Deno.readDirSync(join(folder.path, "again"))], []);
  const bestEpoch = epochs.find(({ tested }) => tested.top1 === result.best)!;
  assertEquals(again.epochs.map(({ epoch, tested }) => [epoch, tested]), [[
    bestEpoch.epoch,
    bestEpoch.tested,
  ]]);
  const others = { pretrained: null, resume: best, evaluate: true, testData: folder.mislabelTest() };
  const other = await run(optionsIn(folder, "other images", others));
  assert(other.result.last.top1 < result.best, String(other.result.last.top1));
  assertEquals([other.result.best, other.epochs[0].best], [other.result.last.top1, other.result.last.top1]);
});

Deno.test("runFinetune() notes that its warm-up leaves no epoch for a schedule that lowers the rates", async () => {
  using folder = new RunFolder(8, 4);
  const notesOf = async (name: string, changes: Partial<FinetuneOptions>) => {
    const { plan } = await run(optionsIn(folder, name, { epochs: 2, warmupEpochs: 2, ...changes }));
    return plan.notes.filter((note) => note.startsWith("the warm-up"));
  };
  const note =
    "the warm-up of 2 epochs takes the whole run of 2: the learning rate never begins to fall. Use " +
    "--warmup-epochs 0, or more --epochs";
  assertEquals(await notesOf("steps", { schedule: [1] }), [note]);
  assertEquals(await notesOf("cosine", { schedule: [2], cos: true }), [note]);
  assertEquals(await notesOf("constant", { schedule: [2] }), []);
});

Deno.test("runFinetune() on a share of the labels learns from these rows alone, in every epoch, and says which", async () => {
  using folder = new RunFolder(120, 20);
  const options = optionsIn(folder, "share", { labelFraction: 0.5, batchSize: 8, seed: 3, epochs: 2 });
  using dataset = await openDataset(options.data);
  const rows = [...chooseLabelFraction(await dataset.readLabels(), 0.5, 3)];
  const { plan, notes, result } = await run(options);
  assertEquals([plan.rows, plan.trainImages], [rows, rows.length]);
  assertEquals(plan.batchesPerEpoch, Math.floor(rows.length / 8));
  assert(
    plan.cache.startsWith(`${(rows.length * 3072 / 1000).toFixed(0)} kB of memory for train.tsv`),
    plan.cache,
  );
  const note = notes.find((text) => text.startsWith("--label-fraction"))!;
  assert(note.includes(`learning from ${rows.length} of 120 images`) && note.includes("--seed 3"), note);
  // All other rows are spoilt, which changes no bit.
  const lines = Deno.readTextFileSync(options.data).trimEnd().split("\n");
  const spoilt = lines.map((line, row) => rows.includes(row) ? line : line.replace(/[^\t]+$/, "AAAA"));
  const path = join(folder.path, "spoilt.tsv");
  Deno.writeTextFileSync(path, spoilt.join("\n") + "\n");
  const other = await run({ ...options, data: path, output: folder.makeOutput("spoilt"), workers: 2 });
  assertEquals(other.steps.length, 2 * plan.batchesPerEpoch);
  assertEquals(other.result.last, result.last);
  // Another seed or share is another run.
  const resume = { ...options, resume: result.checkpoint, epochs: 3 };
  await assertRejects(
    () => run({ ...resume, labelFraction: 0.6 }),
    UserError,
    "--label-fraction is 0.6, was 0.5",
  );
  await assertRejects(() => run({ ...resume, seed: 4 }), UserError, "has different chosen images");
});

Deno.test("runFinetune() says what is wrong with labels, batches and checkpoints", async () => {
  const { folder, ran: { result } } = await unbroken();
  const refused = async (changes: Partial<FinetuneOptions>, expected: string) => {
    await assertRejects(() => run(optionsIn(folder, crypto.randomUUID(), changes)), Error, expected);
  };
  await refused({ batchSize: 100 }, "72 images are fewer than one batch of --batch-size 100");
  await refused({ labelFraction: 0.1, batchSize: 16 }, "or a larger --label-fraction");
  await refused({ classes: 3 }, "expected 0 to 2 for 3 classes");
  // One label of the test images that is too large is found before any actor starts; the file is named.
  const testData = join(folder.path, "too large.tsv");
  const rows = Deno.readTextFileSync(join(folder.data, "test.tsv"));
  Deno.writeTextFileSync(testData, rows.replace(/\t\d+(?=\t[^\t]*\n$)/, "\t12"));
  await refused(
    { testData, classes: 10 },
    `${testData} line 40: has label 12: expected 0 to 9 for 10 classes; correct the label, or use a larger --classes`,
  );
  await refused({ resume: TINY_TEACHER }, "is not a checkpoint of lincls --finetune");
  await refused({ resume: result.checkpoint }, "there is nothing left to do");
  await refused({ resume: result.checkpoint, epochs: 4, classes: 12 }, "has a classifier of 10 classes");
  await refused({ resume: result.checkpoint, epochs: 4, imageSize: 40 }, "--image-size is 40, was 32");
  await refused({ lr: 1e30 }, "training has diverged. Earlier checkpoints are intact; try a lower --lr");
});

Deno.test("runFinetune() that refuses a checkpoint of NaN sets no later one aside, and plans nothing", async () => {
  const { folder, ran: { result } } = await unbroken();
  const options = optionsIn(folder, "refused", { epochs: 4 });
  const resume = join(options.output, "finetune_checkpoint_0001.pth.tar");
  Deno.copyFileSync(result.checkpoint!, join(options.output, basename(result.checkpoint!)));
  using file = await openCheckpointFile(result.checkpoint!);
  const root = file.value as TorchDict;
  root.set("epoch", 2);
  const bias = new Float32Array(10).fill(NaN);
  (root.get("state_dict") as TorchDict).set("module.fc.bias", new TensorValue("float32", [10], bias));
  await writeTorchFile(resume, root);
  const names = [...Deno.readDirSync(options.output)].map(({ name }) => name);
  const told: string[] = [];
  await assertRejects(
    () => runFinetune({ ...options, resume }, ({ type }) => void told.push(type)),
    UserError,
    "fc.bias",
  );
  assert(!told.includes("plan"), String(told));
  assertEquals([...Deno.readDirSync(options.output)].map(({ name }) => name), names);
});

for (const accumulate of [1, 4]) {
  const title = accumulate === 1 ? "" : ` of ${accumulate} batches`;
  Deno.test(`runFinetune() skips steps${title} that are not finite, where it is told to, until nothing is left of the encoder`, async () => {
    const { folder } = await unbroken();
    const warnings: string[] = [];
    const name = `skipping ${accumulate}`;
    await assertRejects(
      () =>
        runFinetune(
          optionsIn(folder, name, { lr: 1e30, onNan: "skip", accumulate }),
          hear({ warning: ({ text, isCommon }) => warnings.push(`${isCommon ? "all: " : ""}${text}`) }),
        ),
      Error,
      "training has diverged by epoch 1: layer1.conv.weight, ",
    );
    // The first step is the only one that changes weights; of 18 batches the last two make a step.
    const steps = Math.ceil(BATCHES / accumulate);
    assertEquals(
      warnings.filter((text) => text.startsWith("all: step skipped in epoch 0")).length,
      steps - 1,
    );
  });
}

Deno.test("runFinetune() with batches that accumulate stops between steps, and is resumed to the same bits", async () => {
  const { folder } = await unbroken();
  const settings = { epochs: 1, accumulate: 9, statsEvery: 6 };
  const measured: number[] = [];
  let groups: string[] = [];
  const whole = await runFinetune(
    optionsIn(folder, "groups", settings),
    hear({
      stats({ step, gradientNorms, weightNorms }) {
        measured.push(step);
        groups = Object.keys(gradientNorms);
        assertEquals(Object.keys(weightNorms), groups);
        for (const norm of Object.values(gradientNorms)) assert(norm > 0);
      },
    }),
  );
  // Steps end with batches 9 and 18: those that the batches 6, 12 and 18 belong to are measured.
  assertEquals(measured, [9, BATCHES]);
  assertEquals(groups, ["layer1", "layer2", "fc"]);

  const stopped = optionsIn(folder, "stopped group", settings);
  const controller = new AbortController();
  const enough = ({ step }: FinetuneStep) => {
    if (step === 2) controller.abort(new Error("enough"));
  };
  const { checkpoint } = await assertRejects(() => run(stopped, enough, controller.signal), StoppedError);
  const { epoch, batch } = await findStart({ ...stopped, resume: checkpoint }, 10, BATCHES);
  assertEquals([epoch, batch], [0, 9]);
  await assertRejects(
    () => run({ ...stopped, resume: checkpoint, accumulate: 5 }),
    UserError,
    "9 batches so far, in the middle of a step of --accumulate 5",
  );
  const resumed = await run({ ...stopped, resume: checkpoint });
  assertEquals(await digestFile(resumed.result.checkpoint!), await digestFile(whole.checkpoint!));
});

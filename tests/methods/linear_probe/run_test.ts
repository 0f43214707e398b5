// The whole recipe, with every part real, on a few rows of the bundled images.
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertFalse,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { basename, dirname, join } from "node:path";
import type { LinearEpoch } from "../../../methods/linear_probe/events.ts";
import { StoppedError } from "../../../actors/stopped_error.ts";
import { type LinearResult, runLinearEvaluation } from "../../../methods/linear_probe/run.ts";
import type { ActorSystem } from "../../../actors/runtime/mod.ts";
import {
  adviseRates,
  LINEAR_DEFAULTS,
  LINEAR_SAMPLE_DEFAULTS,
  type LinearOptions,
} from "../../../methods/linear_probe/options.ts";
import { type LinearInput, linearProbe, METHODS } from "../../../mod.ts";
import { checkLinclsInputs } from "../../../cli/flags/inputs.ts";
import { parseLinclsFlags } from "../../../cli/flags/lincls_flags.ts";
import { INPUT_KEY } from "../../../models/checkpoint/saved_input.ts";
import { BEST_CHECKPOINT } from "../../../models/checkpoint/run_checkpoints.ts";
import { SAMPLE_TEACHER } from "../../../data/sample.ts";
import { UserError } from "../../../errors.ts";
import type { TeacherSsl } from "../../../models/encoder.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import type { TensorRef } from "../../../models/checkpoint/tensor_ref.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import { PyFloat, TensorValue, type TorchDict } from "../../../models/checkpoint/torch_value.ts";
import { digestFile, PLAIN_PIXELS, RunFolder, TINY_TEACHER, withInput } from "../../actors/small_run.ts";
import { drawTeacher } from "../../actors/drawn_teacher.ts";
import { hear } from "../../actors/hear.ts";
import { IS_LONG } from "../../long.ts";
import { writeShapes } from "../../models/shape_checkpoint.ts";
import { writeBiasedSweep, writeOneClass } from "./biased_sweep.ts";

function optionsIn(folder: RunFolder, name: string, changes: Partial<LinearOptions> = {}): LinearOptions {
  return {
    ...LINEAR_SAMPLE_DEFAULTS,
    ...folder.labelledOptions(name),
    epochs: 3,
    batchSize: 16,
    lr: [0.03, 0.1],
    resume: null,
    evaluate: false,
    classes: null,
    ...changes,
  };
}

async function run(
  options: LinearOptions,
): Promise<{ result: LinearResult; losses: number[]; epochs: LinearEpoch[] }> {
  const losses: number[] = [];
  const epochs: LinearEpoch[] = [];
  const result = await runLinearEvaluation(
    options,
    hear({
      step: ({ score }) => losses.push(score.loss),
      epoch: (epoch) => epochs.push(epoch),
    }),
  );
  return { result, losses, epochs };
}

type Ran = Awaited<ReturnType<typeof run>>;

let shared: Promise<{ folder: RunFolder; ran: Ran }> | undefined;

/** A run of two learning rates by one reader on features that are kept: made once, for all that compare with it. */
function unbroken(): Promise<{ folder: RunFolder; ran: Ran }> {
  return shared ??= (async () => {
    const folder = new RunFolder(72, 40);
    return { folder, ran: await run(optionsIn(folder, "unbroken", { cacheFeatures: true })) };
  })();
}

Deno.test.afterAll(async () => (await shared)?.folder[Symbol.dispose]());

Deno.test("runLinearEvaluation() goes on with the encoder of its own checkpoint, of which the newest alone is kept", async () => {
  using folder = new RunFolder(24, 10);
  const { result: { checkpoint } } = await run(optionsIn(folder, "run", { epochs: 1 }));
  // As if every epoch took minutes: then each is saved.
  const { now } = performance;
  performance.now = () => 1e6 * now.call(performance);
  try {
    const own = { pretrained: checkpoint, resume: checkpoint, output: dirname(checkpoint!), epochs: 4 };
    const { result, epochs } = await run({ ...optionsIn(folder, "unused"), ...own });
    assertEquals([epochs.length, basename(result.checkpoint!)], [3, "lincls_checkpoint_0003.pth.tar"]);
  } finally {
    performance.now = now;
  }
});

Deno.test("runLinearEvaluation() names the rates of an encoder's authors where MoCo's is the default", async () => {
  using folder = new RunFolder(24, 10);
  const arch = "dino_vit_p16_w64_b2_h1_f256_r0_g4";
  const dino = { arch, pretrained: join(folder.path, "dino.pth") };
  await writeShapes(dino.pretrained, arch);
  const note = "learning rate 30 is MoCo's; DINO's authors take 0.001. Try several side by side: " +
    "--lr 0.0001,0.001,0.01,0.1";
  const isNoted = async (name: string, changes: Partial<LinearOptions>) => {
    const notes: string[] = [];
    const options = optionsIn(folder, name, { epochs: 1, cacheFeatures: true, ...changes });
    await runLinearEvaluation(options, hear({ plan: (plan) => notes.push(...plan.notes) }));
    return notes.includes(note);
  };
  const { lr } = LINEAR_DEFAULTS;
  assert(await isNoted("dino", { ...dino, lr: [...lr] }));
  assertFalse(await isNoted("asked", { ...dino, lr: [0.1] }));
  assertFalse(await isNoted("moco", { lr: [...lr] }));
  // Random weights are nobody's.
  const of = (ssl: TeacherSsl, pretrained: string | null = "c.pth") =>
    adviseRates({ ssl }, { lr: [...lr], pretrained });
  assertEquals([of("moco"), of("dino", null)], [undefined, undefined]);
  assertStringIncludes(of("swav")!, "SWAV's authors take 0.3. Try several side by side: --lr 0.03,0.3,3");
});

Deno.test("runLinearEvaluation() saves the encoder that it began with, where its file is replaced or removed", async () => {
  using folder = new RunFolder(24, 10);
  const { result: whole } = await run(optionsIn(folder, "whole", { epochs: 1 }));
  for (const harm of ["replaced", "removed"]) {
    const [pretrained, other] = ["encoder", "other"].map((name) => join(folder.path, `${name}.pth.tar`));
    Deno.copyFileSync(TINY_TEACHER, pretrained);
    await drawTeacher(other, "tiny_convnet", { kind: "mlp", dimension: 128 }, 2);
    const { checkpoint } = await runLinearEvaluation(
      optionsIn(folder, harm, { epochs: 1, pretrained }),
      hear({
        step({ step }) {
          if (step !== 1) return;
          if (harm === "replaced") Deno.renameSync(other, pretrained);
          else Deno.removeSync(pretrained);
        },
      }),
    );
    assertEquals(await digestFile(checkpoint!), await digestFile(whole.checkpoint!));
  }
});

for (const cacheFeatures of [false, true]) {
  const title = cacheFeatures ? "on features that are kept" : "on random crops";
  Deno.test(`runLinearEvaluation() ${title} gives the same bits for any number of readers, and when it is resumed`, async () => {
    const { folder, ran } = await unbroken();
    const settings = { cacheFeatures };
    const whole = cacheFeatures ? ran : await run(optionsIn(folder, "random crops", settings));
    assertEquals([whole.losses.length, whole.epochs.length], [3 * 5, 3]);
    assert(whole.losses.every(Number.isFinite));

    // Three readers that decode in every epoch until it is stopped; two that share a file when it is resumed.
    const stopped = optionsIn(folder, `stopped ${cacheFeatures}`, { ...settings, workers: 3, cache: "off" });
    const controller = new AbortController();
    const losses: number[] = [];
    const epochs: LinearEpoch[] = [];
    const { checkpoint } = await assertRejects(
      () =>
        runLinearEvaluation(
          stopped,
          hear({
            step: ({ score }) => losses.push(score.loss),
            epoch(epoch) {
              epochs.push(epoch);
              if (epoch.epoch === 1) controller.abort(new Error("enough"));
            },
          }),
          controller.signal,
        ),
      StoppedError,
      "enough",
    );
    const names = [...Deno.readDirSync(stopped.output)].map(({ name }) => name).toSorted();
    const last = names.find((name) => name.startsWith("lincls_checkpoint_"))!;
    assertEquals([names, checkpoint], [[last, BEST_CHECKPOINT], join(stopped.output, last)]);
    const cache = join(folder.path, `images ${cacheFeatures}`);
    const resumed = await run({ ...stopped, workers: 2, cache, resume: join(stopped.output, last) });
    // What was on its way when it was stopped is trained on once more.
    assertEquals(losses, whole.losses.slice(0, losses.length));
    assertEquals(resumed.losses, whole.losses.slice(-5));
    assertEquals([...epochs, ...resumed.epochs], whole.epochs);
    assertEquals(await digestFile(resumed.result.checkpoint!), await digestFile(whole.result.checkpoint!));
    assertEquals(resumed.result.scores, whole.result.scores);
  });
}

Deno.test("runLinearEvaluation() goes on when actors crash, to the same bits, and tells nothing twice", {
  ignore: !IS_LONG, // a distillation and an embedding do so in every run of the tests
}, async () => {
  const { folder, ran: whole } = await unbroken();
  const losses: number[] = [];
  const epochs: LinearEpoch[] = [];
  const warnings: string[] = [];
  const victims = ["feature_encoder", "train_augmenter", "linear_trainer"];
  let actors: ActorSystem["actors"];
  const result = await runLinearEvaluation(
    optionsIn(folder, "broken"),
    hear({
      actors: (event) => actors = event.actors,
      step({ step, score }) {
        losses.push(score.loss);
        if (step % 5 === 2) actors.get(victims.shift()!)?.crash(new TypeError("bad luck"));
      },
      epoch: (epoch) => epochs.push(epoch),
      warning: ({ text }) => warnings.push(text),
    }),
  );
  assertEquals(losses, whole.losses);
  assertEquals(epochs, whole.epochs);
  assertEquals(result.scores, whole.result.scores);
  assertEquals(await digestFile(result.checkpoint!), await digestFile(whole.result.checkpoint!));
  assertEquals(warnings.map((text) => text.slice(0, text.indexOf(" crashed"))), [
    'actor "feature_encoder"',
    'actor "train_augmenter"',
    'actor "linear_trainer"',
  ]);
});

Deno.test("runLinearEvaluation() trains several learning rates as it would each alone, and evaluates what it saved", async () => {
  const { folder, ran: both } = await unbroken();
  const alone = await run(optionsIn(folder, "alone", { lr: [0.1] }));
  assertEquals(alone.result.scores[0], both.result.scores[1]);

  // The best epoch's file gives the best accuracy again, its encoder taken from it too.
  const best = join(folder.path, "alone", BEST_CHECKPOINT);
  const options = { lr: [0.1], resume: best, pretrained: best, evaluate: true };
  const { result, epochs } = await run(optionsIn(folder, "again", options));
  assertEquals([result.scores[0].last.top1, result.checkpoint], [alone.result.scores[0].best, null]);
  assertEquals([...Deno.readDirSync(join(folder.path, "again"))], []);
  // It is said to be of the epoch that it is of.
  const { best: top1 } = alone.result.scores[0];
  const bestEpoch = alone.epochs.find(({ tested }) => tested[0].top1 === top1)!.epoch;
  assertEquals(epochs.map(({ epoch }) => epoch), [bestEpoch]);
  // Other images have a best of their own, below the checkpoint's.
  const testData = folder.mislabelTest();
  const { result: { scores } } = await run(optionsIn(folder, "other images", { ...options, testData }));
  assert(scores[0].last.top1 < top1, String(scores[0].last.top1));
  assertEquals(scores[0].best, scores[0].last.top1);
});

/** Options for `linearProbe()` that evaluate the classifiers of a checkpoint. */
function evaluationOf(
  folder: RunFolder,
  resume: string,
  changes: Partial<LinearInput> = {},
): LinearInput {
  const { data, testData, plugins, workers, output } = folder.labelledOptions(crypto.randomUUID());
  return { data, testData, plugins, workers, output, pretrained: null, resume, evaluate: true, ...changes };
}

Deno.test("linearProbe() takes the encoder and the learning rates from the checkpoint that it evaluates", async () => {
  const { folder, ran: { result } } = await unbroken();
  const accuracies = ({ scores }: LinearResult) =>
    scores.map(({ lr, last: { top1, top5 } }) => [lr, top1, top5]);
  // Whose encoder was given as a file; its name alone would be one of fresh weights.
  for (const arch of [undefined, "tiny_convnet"]) {
    const evaluated = await linearProbe(evaluationOf(folder, result.checkpoint!, { arch })).result;
    assertEquals(accuracies(evaluated), accuracies(result));
    for (const [i, { last }] of evaluated.scores.entries()) {
      assertAlmostEquals(last.loss, result.scores[i].last.loss, 1e-5);
    }
  }
  const one = await linearProbe(evaluationOf(folder, result.checkpoint!, { lr: [0.1] })).result;
  assertEquals(accuracies(one), [accuracies(result)[1]]);
});

Deno.test("runLinearEvaluation() that evaluates a sweep keeps the checkpoint's learning rate, whatever the images say", async () => {
  const { folder, ran: { result } } = await unbroken();
  // Images of one class alone.
  const testData = join(folder.path, "threes.tsv");
  writeOneClass(join(folder.data, "test.tsv"), testData);
  const evaluate = async (resume: string, changes: Partial<LinearOptions> = {}) => {
    const notes: string[] = [];
    const epochs: LinearEpoch[] = [];
    const options = { resume, pretrained: resume, evaluate: true, testData, ...changes };
    const found = await runLinearEvaluation(
      optionsIn(folder, crypto.randomUUID(), options),
      hear({ note: ({ text }) => notes.push(text), epoch: (epoch) => epochs.push(epoch) }),
    );
    return { ...found, notes: notes.filter((text) => text.includes("learning rate")), epoch: epochs[0] };
  };
  const write = (name: string, isChosen: (i: number) => boolean | null) =>
    writeBiasedSweep(result.checkpoint!, join(folder.path, `${name}.pth.tar`), isChosen);
  const ofRun = await evaluate(await write("chosen", (i) => i === 0));
  assertEquals([ofRun.chosen, ofRun.epoch.chosen, ofRun.notes], [0, 0, []]);
  assertEquals(ofRun.isCheckpointChoice, true);
  const [first, second] = ofRun.scores.map(({ best }) => best);
  assert(first < 100 && second === 100, `${first}, ${second}`);
  // What each epoch's rates were is the checkpoint's affair.
  assertEquals(ofRun.epoch.learningRates, []);

  const end = "; the result is that of 0.03, whose best top-1 in the checkpoint is the highest";
  const other = await write("other", (i) => i === 2);
  const without = await evaluate(other);
  assertEquals([without.chosen, without.isCheckpointChoice], [0, false]);
  assertEquals(without.notes, [`${other}: learning rate 0.2 was chosen, which --lr leaves out${end}`]);
  assertEquals((await evaluate(other, { lr: [0.03] })).notes, []);
  const silent = await write("silent", () => null);
  const unknown = await evaluate(silent);
  assertEquals([unknown.chosen, unknown.isCheckpointChoice], [0, false]);
  assertEquals(unknown.notes, [`${silent}: does not say which learning rate was chosen${end}`]);

  // Of the chosen one the loss is infinite. The third one is better than the second by the checkpoint, and worse on these images.
  using file = await openCheckpointFile(await write("sound", (i) => i === 0));
  const [chosen, , third] = (file.value as TorchDict).get("seed_sweep") as TorchDict[];
  const bias = Float32Array.from({ length: 10 }, (_, i) => i === 0 ? 3e38 : -3e38);
  const values = new Map(chosen.get("values") as TorchDict) as TorchDict;
  values.set("fc.bias", new TensorValue("float32", [10], bias));
  chosen.set("values", values);
  third.set("best_acc1", new PyFloat(85));
  const overflowing = join(folder.path, "overflowing.pth.tar");
  await writeTorchFile(overflowing, file.value);
  const over = await evaluate(overflowing, { lr: [0.03, 0.1, 0.2] });
  assertEquals(over.scores.map(({ diverged }) => diverged), [true, false, false]);
  assert(over.scores[2].best < over.scores[1].best);
  assertEquals([over.chosen, over.epoch.chosen, over.isCheckpointChoice], [2, 2, false]);
  assertEquals(over.notes, [
    "the result is that of learning rate 0.2, whose best top-1 in the checkpoint is the highest of the others",
  ]);
});

Deno.test("classifiers are evaluated with the views that they were trained on, until others are asked for", async () => {
  const { folder, ran: { result } } = await unbroken();
  const resume = result.checkpoint!;
  const pretrained = await withInput(TINY_TEACHER, join(folder.path, "of 16.pth.tar"), {
    imageSize: 16,
    cropRatio: 224 / 256,
  });
  const resolve = async (changes: Partial<LinearInput>) => {
    const notes: string[] = [];
    const input = evaluationOf(folder, resume, { pretrained, ...changes });
    const options = await METHODS.linear_probe.resolve(input, hear({ note: ({ text }) => notes.push(text) }));
    return { ...options, notes: notes.join() };
  };
  const trained = await resolve({});
  assertEquals([trained.pretrained, trained.imageSize, trained.evalResize], [pretrained, 32, "none"]);
  assertStringIncludes(trained.notes, `${resume} says: images of 32 x 32 pixels, crop ratio 1`);
  const evaluated = await linearProbe(evaluationOf(folder, resume, { pretrained })).result;
  assertEquals(evaluated.scores.map(({ last }) => last.top1), result.scores.map(({ last }) => last.top1));
  const asked = await resolve({ imageSize: 16 });
  assertEquals([asked.imageSize, asked.evalResize], [16, "none"]);
  assertStringIncludes(asked.notes, "using 16 x 16 pixels instead, as requested");
  // Those that go on to be trained are the encoder's, and are compared.
  assertEquals((await resolve({ evaluate: false })).imageSize, 16);
  // The command line shows the same.
  const args = ["--evaluate", "--resume", resume, "--pretrained", pretrained, folder.data];
  const command = parseLinclsFlags(args, { encoders: [], folder: "/" });
  assert(command.help === undefined && command.method === "linear_probe");
  const { imageSize, evalResize, lr } = await checkLinclsInputs(command.options);
  assertEquals([imageSize, evalResize, lr], [32, "none", [0.03, 0.1]]);
  // The original's files say nothing of views.
  using file = await openCheckpointFile(resume);
  const root = file.value as TorchDict;
  for (const key of [INPUT_KEY, "seed_resume"]) root.delete(key);
  const original = join(folder.path, "original.pth.tar");
  await writeTorchFile(original, root);
  assertEquals((await resolve({ resume: original })).imageSize, 16);
});

Deno.test("runLinearEvaluation() keeps the learning rate that was the best first, resumed too, and its checkpoint is of it", async () => {
  const { folder, ran: { result } } = await unbroken();
  // As if both had been at 100 %, the second one before the first.
  const equal = join(folder.path, "equal.pth.tar");
  using file = await openCheckpointFile(result.checkpoint!);
  const sweep = (file.value as TorchDict).get("seed_sweep") as TorchDict[];
  for (const [i, probe] of sweep.entries()) {
    probe.set("best_acc1", new PyFloat(100));
    probe.set("is_chosen", i === 1);
  }
  await writeTorchFile(equal, file.value);
  const options = { cacheFeatures: true, epochs: 4, resume: equal };
  const resumed = await run(optionsIn(folder, "equal", options));
  assertEquals([resumed.result.chosen, resumed.result.scores.map(({ best }) => best)], [1, [100, 100]]);
  using saved = await loadStateDict(resumed.result.checkpoint!);
  const probes = (saved.file.value as TorchDict).get("seed_sweep") as TorchDict[];
  assertEquals(probes.map((probe) => probe.get("is_chosen")), [false, true]);
  const weight = (probes[1].get("values") as TorchDict).get("fc.weight") as TensorRef;
  assertEquals(await saved.tensors.get("fc.weight")!.read(), await weight.read());
});

/** What the best checkpoint of a run says of its accuracy, and the accuracy that its weights have, in percent. */
async function bestIn(folder: RunFolder, name: string, changes: Partial<LinearOptions>) {
  const best = join(folder.path, name, BEST_CHECKPOINT);
  using file = await openCheckpointFile(best);
  const root = file.value as TorchDict;
  const options = { ...changes, resume: best, pretrained: best, evaluate: true };
  const { result: { scores }, epochs } = await run(optionsIn(folder, `${name} evaluated`, options));
  return { said: root.get("best_acc1"), top1: scores[0].last.top1, epoch: epochs[0].epoch };
}

Deno.test("the best checkpoint has the accuracy that it says, also where the best learning rate diverges", async () => {
  const { folder } = await unbroken();
  // The decay multiplies the first one's weights by -99 in each step.
  const decay = { cacheFeatures: true, schedule: [], weightDecay: 20, momentum: 0, batchSize: 18, seed: 5 };
  const options = { ...decay, lr: [5, 0.008], epochs: 8 };
  const { result, epochs } = await run(optionsIn(folder, "diverges", options));
  assertEquals([result.chosen, result.scores.map(({ diverged }) => diverged)], [1, [true, false]]);
  const last = epochs.findIndex(({ diverged }) => diverged[0]);
  const second = epochs.map(({ tested }) => tested[1].top1);
  const best = Math.max(...second);
  // The second one was never above the first, and has come down when that is lost.
  assert(last > 0 && best <= result.scores[0].best && second[last] < best);
  assertEquals(await bestIn(folder, "diverges", { ...options, lr: [0.008] }), {
    said: best,
    top1: best,
    epoch: second.indexOf(best),
  });
});

Deno.test("the best checkpoint is of the learning rates that a run goes on with", async () => {
  const { folder, ran: { result } } = await unbroken();
  const other = 1 - result.chosen;
  const options = { cacheFeatures: true, lr: [result.scores[other].lr] };
  const { epochs } = await run(
    optionsIn(folder, "other", { ...options, epochs: 4, resume: result.checkpoint }),
  );
  const [{ epoch, tested: [{ top1 }] }] = epochs;
  assertEquals(await bestIn(folder, "other", options), { said: top1, top1, epoch });
});

Deno.test("runLinearEvaluation() that refuses its checkpoint sets no later one aside, and plans nothing", async () => {
  const { folder, ran: { result } } = await unbroken();
  const options = optionsIn(folder, "refused", { cacheFeatures: true, epochs: 4 });
  const resume = join(options.output, BEST_CHECKPOINT);
  Deno.copyFileSync(result.checkpoint!, join(options.output, basename(result.checkpoint!)));
  // As if the best epoch had been the second of three.
  using file = await openCheckpointFile(result.checkpoint!);
  const root = file.value as TorchDict;
  root.set("epoch", 2);
  await writeTorchFile(resume, root);
  const names = [...Deno.readDirSync(options.output)].map(({ name }) => name);
  for (
    const [changes, expected] of [
      [{ lr: [5] }, "has no classifier for learning rate 5; use --lr 0.03,0.1"],
      [{ classes: 12 }, "has a classifier of 10 classes over 8 features, but the images have 12 classes"],
    ] as const
  ) {
    const told: string[] = [];
    await assertRejects(
      () =>
        runLinearEvaluation(
          { ...options, resume, ...changes, lr: [..."lr" in changes ? changes.lr : options.lr] },
          ({ type }) => void told.push(type),
        ),
      UserError,
      expected,
    );
    assert(!told.includes("plan"), String(told));
    assertEquals([...Deno.readDirSync(options.output)].map(({ name }) => name), names);
  }
});

Deno.test("runLinearEvaluation() changes nothing of the encoder, and writes the original's keys", async () => {
  const { result } = (await unbroken()).ran;
  using before = await loadStateDict(TINY_TEACHER);
  using after = await loadStateDict(result.checkpoint!);
  const root = after.file.value as Map<string, unknown>;
  assertEquals([...root.keys()].slice(0, 5), ["epoch", "arch", "state_dict", "best_acc1", "optimizer"]);
  const keys = [...(root.get("state_dict") as Map<string, unknown>).keys()];
  assert(keys.every((key) => key.startsWith("module.")));
  assertEquals(keys.slice(-2), ["module.fc.weight", "module.fc.bias"]);
  assertEquals(after.tensors.get("fc.weight")!.shape, [10, 8]);
  for (const [key, tensor] of before.tensors) {
    if (key.startsWith("fc.")) continue;
    assertEquals(await after.tensors.get(key)!.read(), await tensor.read(), key);
  }
});

Deno.test("runLinearEvaluation() with fresh weights says what training is worth", {
  ignore: !IS_LONG, // bench:learning shows it, and the other runs here that it learns
}, async () => {
  using folder = new RunFolder(200, 100);
  // A teacher that was trained.
  const encoder = { pretrained: SAMPLE_TEACHER, arch: "resnet18" };
  const settings = { ...encoder, cacheFeatures: true, epochs: 10, schedule: [], lr: [0.03] };
  const trained = await run(optionsIn(folder, "trained", settings));
  const fresh = await run(optionsIn(folder, "fresh", { ...settings, pretrained: null }));
  const [a, b] = [trained, fresh].map(({ result }) => result.scores[0].last);
  assert(a.top1 > b.top1, `${a.top1} is not above ${b.top1}`);
  assertAlmostEquals(a.top5 % 1, 0, 1e-9);
  // It learns: the loss is below that of guessing.
  assert(trained.losses.at(-1)! < Math.log(10));
});

Deno.test("runLinearEvaluation() says what is wrong with labels and checkpoints", async () => {
  const { folder, ran: { result } } = await unbroken();
  const refused = async (changes: Partial<LinearOptions>, expected: string) => {
    const name = crypto.randomUUID();
    await assertRejects(() => run(optionsIn(folder, name, changes)), Error, expected);
  };
  await refused({ classes: 3 }, "expected 0 to 2 for 3 classes");
  const unlabelled = join(folder.path, "unlabelled.tsv");
  Deno.writeTextFileSync(
    unlabelled,
    Deno.readTextFileSync(join(folder.data, "test.tsv")).replace(/\t\d+\t/g, "\t-1\t"),
  );
  await refused({ testData: unlabelled }, "expected class labels, which a linear evaluation needs");
  // Nothing is said of a share of them.
  const notes: string[] = [];
  const share = { data: unlabelled, classes: 10, labelFraction: 0.1 };
  await assertRejects(
    () =>
      runLinearEvaluation(optionsIn(folder, "share", share), hear({ note: ({ text }) => notes.push(text) })),
    UserError,
    `${unlabelled}: expected class labels`,
  );
  assertEquals(notes, []);
  await refused({ lr: [0.1, 0.03, 0.1] }, "--lr 0.1,0.03,0.1 contains a learning rate twice");
  // One bad row is found before any actor starts. A broken one is passed over, as are images that nothing is learnt from.
  const rows = Deno.readTextFileSync(join(folder.data, "test.tsv"));
  const [bad, garbled] = ["-1", "cat"].map((label) => {
    const path = join(folder.path, `last is ${label}.tsv`);
    Deno.writeTextFileSync(path, rows.replace(/\t\d+(?=\t[^\t]*\n$)/, `\t${label}`));
    return path;
  });
  const started: string[] = [];
  await assertRejects(
    () =>
      runLinearEvaluation(optionsIn(folder, "bad", { testData: bad }), ({ type }) => void started.push(type)),
    UserError,
    `${bad} line 40: has label -1: expected 0 or above`,
  );
  assert(!started.includes("plan"), String(started));
  await refused({ data: bad }, `${bad} line 40: has label -1`);
  const options = { testData: garbled, data: bad, resume: result.checkpoint, evaluate: true };
  assert((await run(optionsIn(folder, "garbled", options))).result.scores[0].last.top1 > 0);
  const broken = join(folder.path, "broken.tsv");
  Deno.writeTextFileSync(
    broken,
    Deno.readTextFileSync(join(folder.data, "test.tsv")).replaceAll(/[^\t\n]+(?=\n)/g, "AAAA"),
  );
  await refused(
    { testData: broken, workers: 2 },
    `${broken}: found no usable image in any row`,
  );
  await refused({ resume: SAMPLE_TEACHER }, "is not a checkpoint of a linear evaluation");
  await refused({ resume: result.checkpoint }, "there is nothing left to do");
  await refused(
    { resume: result.checkpoint, epochs: 4, lr: [5] },
    "has no classifier for learning rate 5; use --lr 0.03,0.1",
  );
  await refused({ resume: result.checkpoint, epochs: 4, classes: 12 }, "has a classifier of 10 classes");
  // The same weights for other pixels give other features.
  const pixels = await withInput(TINY_TEACHER, join(folder.path, "pixels.pth.tar"), PLAIN_PIXELS);
  for (const evaluate of [false, true]) {
    await refused(
      { resume: result.checkpoint, epochs: 4, pretrained: pixels, evaluate },
      "--pretrained has different channel means (0,0,0, was 0.485,0.456,0.406); --pretrained has different channel " +
        "deviations (1,1,1, was 0.229,0.224,0.225). To resume, use --pretrained with the original channel means",
    );
  }
  const none = await assertRejects(() => run(optionsIn(folder, "none", { pretrained: folder.path })));
  assert(none instanceof UserError || (none as Error).message.includes("is a folder"));
});

// Apart: its actors have Workers, as what is torn down with a Worker is what it is about.
/**
 * Faults that come from the parts themselves: modules that lie outside this tree, and stand in the places of built-in
 * actors, lose their device, take their time, or send garbage.
 */
import { setOneThread } from "../../actors/one_thread.ts";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { UserError } from "../../errors.ts";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import {
  type ActorRole,
  distill,
  type DistillEvent,
  type DistillOptions,
  finetune,
  knn,
  linearProbe,
  StoppedError,
} from "../../mod.ts";
import { ActorCrash } from "../../actors/runtime/mod.ts";
import { IS_LONG } from "../long.ts";
import { digestFile, RunFolder, TINY_ENCODER, TINY_TEACHER } from "./small_run.ts";

setOneThread(false);

const MOD = new URL("../../mod.ts", import.meta.url).href;

/** Writes a module that wraps a built-in actor: `meddle(handlers)` changes what its handlers do. */
function writeActor(folder: RunFolder, role: ActorRole, meddle: string): { [role: string]: string } {
  const path = join(folder.path, `my_${role}.ts`);
  Deno.writeTextFileSync(
    path,
    `import { actorUrl, defineActor } from ${JSON.stringify(MOD)};
const { default: builtIn } = await import(actorUrl(${JSON.stringify(role)}).href);
${meddle}
export default defineActor(async (config, context) => {
  const behaviour = await builtIn.start(config, context);
  return { ...behaviour, handlers: { ...behaviour.handlers, ...meddle(behaviour.handlers) } };
});
`,
  );
  return { [role]: pathToFileURL(path).href };
}

Deno.test("statistics are told once when the trainer crashes after them, before it tells of their step", async () => {
  using folder = new RunFolder(24);
  const module = join(folder.path, "my_trainer.ts");
  Deno.writeTextFileSync(
    module,
    `import { actorUrl, defineActor } from ${JSON.stringify(MOD)};
const { default: builtIn } = await import(actorUrl("student_trainer").href);
const MARK = ${JSON.stringify(join(folder.path, "has crashed"))};
export default defineActor(async (config, context) => {
  const tell = async (name, event) => {
    await config.monitor.tell(name, event);
    if (event.type !== "stats" || await Deno.stat(MARK).then(() => true, () => false)) return;
    Deno.writeTextFileSync(MARK, "");
    throw new TypeError("bad luck");
  };
  return await builtIn.start({ ...config, monitor: { tell } }, context);
});
`,
  );
  const measured: number[] = [];
  const steps: number[] = [];
  let warnings = 0;
  const actors = { student_trainer: pathToFileURL(module).href };
  const options = folder.options("measured", { actors, epochs: 2, statsEvery: 5, maxRestarts: 3 });
  for await (const event of distill(options)) {
    if (event.type === "stats") measured.push(event.step);
    if (event.type === "step") steps.push(event.step);
    if (event.type === "warning") warnings++;
  }
  assertEquals([measured, warnings], [[5, 10], 1]);
  assertEquals(steps, Array.from({ length: 12 }, (_, i) => i + 1));
});

Deno.test("a trainer that crashes when an epoch's checkpoint is written, and not told of, loses no epoch and no end", async () => {
  using folder = new RunFolder(24, 8);
  const module = join(folder.path, "my_trainer.ts");
  const mark = join(folder.path, "epochs to crash in");
  Deno.writeTextFileSync(
    module,
    `import { actorUrl, defineActor } from ${JSON.stringify(MOD)};
const { default: builtIn } = await import(actorUrl("student_trainer").href);
const MARK = ${JSON.stringify(mark)};
export default defineActor(async (config, context) => {
  const tell = async (name, event) => {
    const left = Deno.readTextFileSync(MARK);
    if (event.type === "saved" && event.endsEpoch && left.startsWith(event.epoch)) {
      Deno.writeTextFileSync(MARK, left.slice(1));
      throw new TypeError("bad luck");
    }
    await config.monitor.tell(name, event);
  };
  return await builtIn.start({ ...config, monitor: { tell } }, context);
});
`,
  );
  const train = async (name: string, crashes: string) => {
    Deno.writeTextFileSync(mark, crashes);
    const run = distill(folder.options(name, {
      epochs: 2,
      saveEvery: { steps: 4 }, // within each epoch of six
      testData: join(folder.data, "test.tsv"),
      knnEvery: 1,
      actors: { student_trainer: pathToFileURL(module).href },
    }));
    const [steps, evaluated]: number[][] = [[], []];
    const warnings: string[] = [];
    for await (const event of run) {
      if (event.type === "step") steps.push(event.step);
      else if (event.type === "knn" && event.of === "student") evaluated.push(event.step);
      else if (event.type === "warning") warnings.push(event.text);
    }
    const { checkpoint, knn } = await run.result;
    const digest = await digestFile(checkpoint);
    return { steps, evaluated: evaluated.sort((a, b) => a - b), warnings, digest, knn };
  };
  const unbroken = await train("unbroken", "");
  assertEquals([unbroken.steps.length, unbroken.evaluated, unbroken.warnings], [12, [0, 6, 12], []]);
  const { warnings, ...broken } = await train("broken", "01");
  assertEquals(warnings.filter((text) => text.startsWith('actor "student_trainer" crashed: ')).length, 2);
  assertEquals({ ...broken, warnings: [] }, unbroken);
});

Deno.test("a reader that ends early, or sends other than full batches, ends a training with its name", async () => {
  using folder = new RunFolder(24);
  const wrapped = (config: string, range: string) =>
    `import { actorUrl, defineActor } from ${JSON.stringify(MOD)};
const { default: builtIn } = await import(actorUrl("tsv_reader").href);
export default defineActor(async (config, context) => {
  const { handlers } = await builtIn.start({ ...config, ${config} }, context);
  return { handlers: { ...handlers, read: (range, message) => handlers.read({ ...range, ${range} }, message) } };
});
`;
  const cases = {
    early: [
      wrapped("", "endBatch: 3"),
      /expected 12 images of epoch 0 in the reply of read, its share of batches 0 to 5, found (4|8)$/,
    ],
    small: [
      wrapped("batchSize: 3", ""),
      /^tsv_reader [01]: expected 4 images in batch [01] of epoch 0, found 3; batches of training must be full$/,
    ],
  } as const;
  for (const [name, [text, expected]] of Object.entries(cases)) {
    const module = join(folder.path, `${name}.ts`);
    Deno.writeTextFileSync(module, text);
    const actors = { tsv_reader: pathToFileURL(module).href };
    const { cause } = await assertRejects(
      () => distill(folder.options(name, { actors, workers: 2 })).result,
      UserError,
    );
    assert(cause instanceof ActorCrash);
    assertMatch(cause.failure.message, expected);
  }
  // Those of a linear evaluation's last batch are fewer.
  const run = linearProbe({
    data: join(folder.data, "train.tsv"),
    testData: join(folder.data, "train.tsv"),
    output: folder.makeOutput("linear"),
    pretrained: TINY_TEACHER,
    arch: "tiny_convnet",
    plugins: [TINY_ENCODER],
    ...{ imageSize: 32, workers: 1, epochs: 1, batchSize: 16 },
  });
  await run.result;
});

Deno.test("a linear evaluation that is stopped goes no further, however long it saves", async () => {
  using folder = new RunFolder(24, 8);
  // The trainer saves at once, as that of a rank does, and not before the next epoch is done.
  const actors = writeActor(
    folder,
    "linear_trainer",
    `let evaluated = 0;
const second = Promise.withResolvers();
const meddle = (handlers) => ({
  evaluateKept: { urgent: async () => {
    const scores = await handlers.evaluateKept.urgent();
    if (++evaluated === 2) setTimeout(second.resolve, 500);
    return scores;
  } },
  save: { urgent: async () => {
    await second.promise;
    return await handlers.save();
  } },
});`,
  );
  const controller = new AbortController();
  const run = linearProbe({
    ...folder.labelledOptions("stopped"),
    ...{ actors, imageSize: 32, epochs: 3, batchSize: 16, cacheFeatures: true },
  }, { signal: controller.signal });
  const epochs: number[] = [];
  const { checkpoint } = await assertRejects(async () => {
    for await (const event of run) {
      if (event.type !== "epoch") continue;
      epochs.push(event.epoch);
      controller.abort(new Error("enough"));
    }
  }, StoppedError);
  assertEquals(epochs, [0]);
  assertEquals(basename(checkpoint!), "lincls_checkpoint_0000.pth.tar");
});

Deno.test("an evaluator of one's own takes the place of the built-in one, in a distillation and alone", async () => {
  using folder = new RunFolder(24, 8);
  const actors = writeActor(
    folder,
    "evaluator",
    `const meddle = (handlers) => ({
  // A message tap: what comes is counted, and passed on.
  async encode(batch, context) {
    console.assert(batch.images.count > 0);
    return await handlers.encode(batch, context);
  },
  score: { urgent: async (expected, context) => {
    await handlers.score.urgent(expected, context);
    return [{ top1: 42, top5: 43 }];
  } },
});`,
  );
  const testData = join(folder.data, "test.tsv");
  const options = folder.options("evaluated", { testData, actors, limitSteps: 1 });
  const { knn: evaluated } = await distill(options).result;
  assertEquals(evaluated, {
    teacher: { top1: 42, top5: 43 },
    before: { top1: 42, top5: 43 },
    after: { top1: 42, top5: 43 },
  });
  const encoder = { pretrained: TINY_TEACHER, arch: "tiny_convnet" };
  const data = { data: join(folder.data, "train.tsv"), testData, imageSize: 32 };
  assertEquals(await knn({ ...encoder, ...data, knnK: [5], actors, plugins: [TINY_ENCODER] }).result, [{
    top1: 42,
    top5: 43,
  }]);
});

Deno.test("a linear evaluation whose trainer crashes while it starts goes on, and ends with the reason where that does not help", async () => {
  using folder = new RunFolder(32, 8);
  const run = async (name: string, crashes: number) => {
    const module = join(folder.path, `${name}.ts`);
    const mark = join(folder.path, `${name} crashes`);
    Deno.writeTextFileSync(mark, "");
    Deno.writeTextFileSync(
      module,
      `import { actorUrl, defineActor } from ${JSON.stringify(MOD)};
const { default: builtIn } = await import(actorUrl("linear_trainer").href);
export default defineActor(async (config, context) => {
  const count = Deno.readTextFileSync(${JSON.stringify(mark)}).length;
  if (count < ${crashes}) {
    Deno.writeTextFileSync(${JSON.stringify(mark)}, "x", { append: true });
    throw new TypeError("bad luck" + "!".repeat(count)); // the same one again would be no luck
  }
  return await builtIn.start(config, context);
});
`,
    );
    const warnings: string[] = [];
    const evaluation = linearProbe({
      data: join(folder.data, "train.tsv"),
      testData: join(folder.data, "test.tsv"),
      output: folder.makeOutput(name),
      pretrained: TINY_TEACHER,
      arch: "tiny_convnet",
      plugins: [TINY_ENCODER],
      actors: { linear_trainer: pathToFileURL(module).href },
      ...{ imageSize: 32, workers: 1, epochs: 1, batchSize: 16 },
    });
    for await (const event of evaluation) if (event.type === "warning") warnings.push(event.text);
    return { result: await evaluation.result, warnings };
  };
  const unbroken = await run("unbroken", 0);
  const restarted = await run("restarted", 2);
  assertEquals(restarted.warnings.length, 2);
  assertMatch(restarted.warnings[0], /^actor "linear_trainer" crashed: TypeError: bad luck; restarting/);
  assertEquals(restarted.result.scores, unbroken.result.scores);
  await assertRejects(
    () => run("ended", 9),
    ActorCrash,
    'actor "linear_trainer" crashed: TypeError: bad luck',
  );
});

Deno.test("a linear evaluation and a fine-tuning that are stopped, and whose trainer crashes as it saves, are stopped", async () => {
  using folder = new RunFolder(32, 8);
  for (const [role, method] of [["linear_trainer", linearProbe], ["finetune_trainer", finetune]] as const) {
    const mark = join(folder.path, `${role} has crashed`);
    const actors = writeActor(
      folder,
      role,
      `const MARK = ${JSON.stringify(mark)};
const meddle = (handlers) => {
  const save = handlers.save.urgent ?? handlers.save;
  const crash = async (...args) => {
    if (await Deno.stat(MARK).then(() => true, () => false)) return await save(...args);
    Deno.writeTextFileSync(MARK, "");
    throw new TypeError("bad luck");
  };
  return { save: handlers.save.urgent === undefined ? crash : { urgent: crash } };
};`,
    );
    await using run = method({
      data: join(folder.data, "train.tsv"),
      testData: join(folder.data, "test.tsv"),
      output: folder.makeOutput(role),
      pretrained: TINY_TEACHER,
      arch: "tiny_convnet",
      plugins: [TINY_ENCODER],
      actors,
      ...{ imageSize: 32, workers: 1, epochs: 1000, batchSize: 16 },
    });
    await assertRejects(async () => {
      for await (const event of run) if (event.type === "step") run.stop();
    }, StoppedError);
    assert(Deno.statSync(mark).isFile);
  }
});

Deno.test("evaluations slower than epochs take their weights from checkpoints, and are those of a run that waits for none", async () => {
  using folder = new RunFolder(16, 8);
  const slow = writeActor(
    folder,
    "evaluator",
    `const meddle = (handlers) => ({
  async use(encoder, context) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    return await handlers.use(encoder, context);
  },
});`,
  );
  const settings = { testData: join(folder.data, "test.tsv"), epochs: 8, batchSize: 16, knnEvery: 1 };
  const evaluated = async (name: string, changes: Partial<DistillOptions>) => {
    const epochs: DistillEvent[] = [];
    const notes: string[] = [];
    const run = distill(folder.options(name, { ...settings, ...changes }));
    for await (const event of run) {
      if (event.type === "knn" && event.of === "student") epochs.push(event);
      if (event.type === "note") notes.push(event.text);
    }
    // The student before training may be evaluated after the first epoch's.
    epochs.sort((a, b) => (a as { step: number }).step - (b as { step: number }).step);
    return { epochs, notes: notes.filter((text) => text.includes("is not evaluated")) };
  };
  const usual = await evaluated("usual", {});
  assertEquals([usual.epochs.length, usual.notes], [9, []]); // 7 epochs, before and after
  assertEquals(await evaluated("slow", { actors: slow }), usual);
  // Of those that are gone there is a word.
  const kept = await evaluated("kept", { actors: slow, keep: 1 });
  assert(kept.notes.length > 0);
  assertEquals(kept.epochs.length + kept.notes.length, 9);
  assertMatch(
    kept.notes[0],
    /^epoch \d+ is not evaluated, as evaluations take longer than epochs: .*: no such file/,
  );
});

/** A short run, with the module or without; something is done to it at its second step. */
async function run(
  folder: RunFolder,
  name: string,
  actors: { [role: string]: string } = {},
  options: Partial<DistillOptions> = {},
  harm: () => void = () => {},
) {
  const warnings: string[] = [];
  let most = 0;
  const distillation = distill(folder.options(name, { actors, ...options }));
  for await (const event of distillation) {
    if (event.type === "step" && event.step === 2) harm();
    if (event.type === "warning") warnings.push(event.text);
    if (event.type === "step") most = Math.max(most, event.step);
  }
  const { checkpoint } = await distillation.result;
  return { digest: await digestFile(checkpoint), steps: most, warnings };
}

Deno.test("a lost GPU device is a crash like any other, also beside a slow stage: the same bits", async () => {
  using folder = new RunFolder(24);
  const expected = await run(folder, "as it is");
  assertEquals(expected.warnings, []);

  // Once: each life is a Worker of its own, so a file remembers it.
  const loseDevice = (role: ActorRole, message: string) =>
    writeActor(
      folder,
      role,
      `let device;
const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (options) {
  return device = await requestDevice.call(this, options);
};
const mark = ${JSON.stringify(join(folder.path, `${role} was lost`))};
let batches = 0;
const meddle = (handlers) => ({
  async ${message}(batch, context) {
    if (++batches === 4 && !existsSync(mark)) {
      Deno.writeTextFileSync(mark, "");
      device.destroy();
    }
    return await handlers.${message}(batch, context);
  },
});
import { existsSync } from "node:fs";`,
    );
  const slow = writeActor(
    folder,
    "encoder",
    `const meddle = (handlers) => ({
  async encode(batch, context) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    return await handlers.encode(batch, context);
  },
});`,
  );
  // Alone as well, where there is time.
  if (IS_LONG) assertEquals(await run(folder, "slow", slow), expected);
  const cases: [lost: ActorRole, message: string, others: { [role: string]: string }][] = [
    ["student_trainer", "train", slow],
    ...(IS_LONG ? [["encoder", "encode", {}] satisfies [ActorRole, string, unknown]] : []),
  ];
  for (const [role, message, others] of cases) {
    const actors = { ...others, ...loseDevice(role, message) };
    const { warnings, ...found } = await run(folder, `${role} loses its device`, actors);
    assertEquals({ ...found, warnings: [] }, expected);
    assertEquals(warnings.length, 1);
    assertMatch(
      warnings[0],
      new RegExp(`^actor "\\w*${role}" crashed: .*; restarting these actors: .*${role}`),
    );
  }
});

Deno.test("a clock that goes backwards, and a data file that is replaced in mid-run, make no difference", {
  ignore: !IS_LONG,
}, async () => {
  using folder = new RunFolder(24);
  const expected = await run(folder, "as it is");
  const clock = join(folder.path, "clock.ts");
  Deno.writeTextFileSync(
    clock,
    `const RealDate = Date;
let now = RealDate.now();
globalThis.Date = class extends RealDate {
  constructor(...args) {
    super(...(args.length === 0 ? [globalThis.Date.now()] : args));
  }
  static now() {
    return now -= 3_600_000;
  }
};
globalThis.restoreDate = () => globalThis.Date = RealDate;
`,
  );
  try {
    const plugins = [TINY_ENCODER, pathToFileURL(clock).href];
    assertEquals(await run(folder, "backwards", {}, { plugins }), expected);
  } finally {
    (globalThis as unknown as { restoreDate?(): void }).restoreDate?.();
  }

  const train = join(folder.data, "train.tsv");
  const replaced = await run(folder, "replaced", {}, {}, () => {
    Deno.writeTextFileSync(`${train}.new`, "something else\n");
    Deno.renameSync(`${train}.new`, train);
  });
  assertEquals(replaced, expected);
});

Deno.test("a reader that sends garbage ends the run with the name of who could not use it", async () => {
  using folder = new RunFolder(24);
  const garbage = writeActor(
    folder,
    "augmenter",
    `const meddle = (handlers) => ({
  async augment(batch, context) {
    const table = batch.images.table.map((value) => value ^ 0x55555555);
    return await handlers.augment({ ...batch, images: { ...batch.images, table } }, context);
  },
});`,
  );
  const crash = await assertRejects(() => run(folder, "garbage", garbage, { maxRestarts: 1 }), ActorCrash);
  assertEquals(crash.actor, "augmenter");
});

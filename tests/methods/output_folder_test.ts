// The library refuses a folder that holds another run, as the command line does.
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { basename, dirname, join } from "node:path";
import { takeOutputFolder } from "../../methods/output_folder.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { BEST_CHECKPOINT, listCheckpoints } from "../../models/checkpoint/run_checkpoints.ts";
import { PyFloat, type TorchDict } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import {
  distill,
  finetune,
  type FinetuneResult,
  linearProbe,
  type LinearResult,
  NothingToDoError,
  UserError,
} from "../../mod.ts";
import { digestFile, RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

Deno.test("distill() refuses a folder that holds a run, keeps its checkpoint, and resumes it", async () => {
  using folder = new RunFolder(8);
  const options = folder.options("out", { epochs: 1 });
  const { checkpoint } = await distill(options).result;
  const before = await digestFile(checkpoint);
  const { message } = await assertRejects(() => distill({ ...options, seed: 1 }).result, UserError);
  assertEquals(
    message,
    `--output ${options.output} already holds a run (1 checkpoint): choose another folder, or resume ` +
      `that run with --resume ${checkpoint}`,
  );
  assertEquals(await digestFile(checkpoint), before);

  const longer = { ...options, epochs: 2, resume: checkpoint };
  const resumed = await distill(longer).result;
  assertEquals([dirname(resumed.checkpoint), resumed.steps], [options.output, 2]);
  // A checkpoint of elsewhere is no reason to replace the ones that are here.
  const elsewhere = join(folder.makeOutput("elsewhere"), basename(checkpoint));
  Deno.copyFileSync(checkpoint, elsewhere);
  await assertRejects(
    () => distill({ ...longer, resume: elsewhere }).result,
    UserError,
    "already holds a run (2 checkpoints)",
  );
});

Deno.test("a run that cannot begin leaves no folder that it made, and one that was there", async () => {
  using folder = new RunFolder(8);
  const options = folder.options("there", { batchSize: 64 });
  const above = join(folder.path, "above");
  const output = join(above, "of", "made");
  for (const changes of [{}, { data: join(folder.path, "no.tsv") }, { batchSize: 4, queue: 2 }]) {
    await assertRejects(() => distill({ ...options, ...changes, output }).result, Error);
    assertThrows(() => Deno.statSync(above), Deno.errors.NotFound);
  }
  Deno.mkdirSync(above);
  await assertRejects(() => distill({ ...options, output }).result, Error);
  assertEquals([...Deno.readDirSync(above)], [], "what was there stays");
  await assertRejects(() => distill(options).result, UserError);
  assertEquals([...Deno.readDirSync(options.output)], []);
  // What a run has written stays.
  const stopped = distill({ ...options, batchSize: 4, epochs: 100, output });
  for await (const event of stopped) if (event.type === "step") break;
  await stopped.stop();
  assertNotEquals(await listCheckpoints(output), []);
});

Deno.test("linearProbe() refuses a folder that holds a run", async () => {
  using folder = new RunFolder(8, 8);
  const [trainData, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const files = { data: trainData, testData, output: folder.makeOutput("lincls"), pretrained: TINY_TEACHER };
  const options = { ...files, plugins: [TINY_ENCODER], imageSize: 32, batchSize: 4, epochs: 1, workers: 1 };
  await linearProbe(options).result;
  await assertRejects(
    () => linearProbe(options).result,
    UserError,
    "already holds a run (2 checkpoints): choose another folder",
  );
});

Deno.test('resume: "auto" begins a run, goes on from its newest checkpoint that will do, and says from which', async () => {
  using folder = new RunFolder(8);
  const options = { ...folder.options("out", { epochs: 3 }), resume: "auto" };
  const notices: string[] = [];
  const run = async (epochs: number) => {
    notices.length = 0;
    const run = distill({ ...options, epochs });
    for await (const event of run) {
      if (event.type !== "warning" && event.type !== "note") continue;
      if (event.type === "warning" || event.text.startsWith("resumes")) notices.push(event.text);
    }
    return await run.result;
  };
  const whole = await distill(folder.options("whole", { epochs: 3 })).result;
  const first = await run(1);
  assertEquals([first.steps, notices], [2, []]);
  const second = await run(2);
  assertEquals([second.steps, notices], [2, [`resumes from ${first.checkpoint}`]]);
  Deno.writeTextFileSync(second.checkpoint, "damaged");
  const last = await run(3);
  assertEquals([last.steps, notices.at(-1)], [4, `resumes from ${first.checkpoint}`]);
  assertMatch(notices[0], /^--resume auto skips a checkpoint: .*checkpoint_?0*1/);
  assertEquals(await digestFile(last.checkpoint), await digestFile(whole.checkpoint));
  await assertRejects(() => run(3), NothingToDoError, "nothing left to do");
});

Deno.test('a run that goes back to an earlier checkpoint sets the later ones aside, and "auto" goes on with it', async () => {
  using folder = new RunFolder(8);
  const options = folder.options("out", { epochs: 4 });
  await distill(options).result;
  const [first, second, third, last] = (await listCheckpoints(options.output)).map(({ path }) => path);
  const digest = await digestFile(last);
  // What cannot begin changes nothing.
  const back = { ...options, resume: first, lr: 0.01, epochs: 4, limitSteps: 2 };
  await assertRejects(() => distill({ ...back, temp: 0.3 }).result, UserError, "is from a different run");
  assertEquals((await listCheckpoints(options.output)).length, 4);

  const notes: string[] = [];
  const run = distill(back);
  for await (const event of run) if (event.type === "note") notes.push(event.text);
  assertEquals((await run.result).checkpoint, second);
  const names = [second, third, last].map((path) => basename(path)).join(", ");
  assert(
    notes.includes(`the run goes on from ${first}: later checkpoints now end in .superseded (${names})`),
    notes.join("\n"),
  );
  assertEquals((await listCheckpoints(options.output)).map(({ path }) => path), [first, second]);
  assertEquals(await digestFile(`${last}.superseded`), digest);
  const resumed = distill({ ...options, resume: "auto", limitSteps: 1 });
  for await (const event of resumed) if (event.type === "note") notes.push(event.text);
  await resumed.result;
  assert(notes.includes(`resumes from ${second}`), notes.join("\n"));
});

Deno.test("linearProbe() and finetune() set later checkpoints aside too, but not where they only evaluate", async () => {
  using folder = new RunFolder(8, 8);
  const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const files = { data, testData, pretrained: TINY_TEACHER, plugins: [TINY_ENCODER] };
  for (const [name, method] of [["lincls", linearProbe], ["finetune", finetune]] as const) {
    const output = folder.makeOutput(name);
    const options = { ...files, output, imageSize: 32, batchSize: 4, workers: 1 };
    const begun = join(output, "begun.pth.tar");
    Deno.copyFileSync((await method({ ...options, epochs: 1 }).result).checkpoint!, begun);
    const { checkpoint } = await method({ ...options, epochs: 2, resume: "auto" }).result;
    await method({ ...options, epochs: 2, resume: begun, evaluate: true }).result;
    const supersededs = () =>
      [...Deno.readDirSync(output)].filter(({ name }) => name.endsWith(".superseded"));
    assertEquals(supersededs(), []);
    const digest = await digestFile(checkpoint!);
    await method({ ...options, epochs: 2, resume: begun, momentum: 0.5 }).result;
    assertEquals(await digestFile(`${checkpoint}.superseded`), digest);
  }
});

Deno.test("linearProbe() and finetune() that go back set the best checkpoint of later epochs aside, and write their own", async () => {
  using folder = new RunFolder(8, 8);
  const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const files = { data, testData, pretrained: TINY_TEACHER, plugins: [TINY_ENCODER] };
  /** Changes what a checkpoint says of itself. */
  const rewrite = async (from: string, path: string, epoch: number, top1: number) => {
    using file = await openCheckpointFile(from);
    const root = file.value as TorchDict;
    root.set("epoch", epoch);
    for (const of of [root, ...root.get("seed_sweep") as TorchDict[] ?? []]) {
      of.set("best_acc1", new PyFloat(top1));
    }
    await writeTorchFile(path, root);
  };
  const lastOf = (result: LinearResult | FinetuneResult) =>
    "last" in result ? result.last.top1 : result.scores[0].last.top1;
  for (const [name, method] of [["lincls", linearProbe], ["finetune", finetune]] as const) {
    const output = folder.makeOutput(name);
    const options = { ...files, output, imageSize: 32, batchSize: 4, workers: 1, epochs: 2 };
    const [begun, best] = ["begun.pth.tar", BEST_CHECKPOINT].map((name) => join(output, name));
    const first = (await method({ ...options, epochs: 1 }).result).checkpoint!;
    // As if an epoch before it had been better than all that come, but for one that is given up.
    await rewrite(first, begun, 1, 99);
    await method({ ...options, resume: "auto" }).result;
    await rewrite(best, best, 2, 100);
    const digest = await digestFile(best);

    const run = method({ ...options, resume: begun, momentum: 0.5 });
    const notes: string[] = [];
    for await (const event of run) if (event.type === "note") notes.push(event.text);
    const top1 = lastOf(await run.result);
    assert(notes.some((text) => text.endsWith(`, ${BEST_CHECKPOINT})`)), notes.join("\n"));
    assertEquals(await digestFile(`${best}.superseded`), digest);
    {
      using file = await openCheckpointFile(best);
      const root = file.value as TorchDict;
      assertEquals([root.get("epoch"), root.get("best_acc1")], [2, top1]);
    }
    assertEquals(lastOf(await method({ ...options, resume: best, evaluate: true }).result), top1);
    // One that is gone on with stays, as does one of no later epoch.
    const { checkpoint } = await method({ ...options, resume: best, epochs: 3 }).result;
    await method({ ...options, resume: checkpoint, epochs: 4 }).result;
    const names = [...Deno.readDirSync(output)].map(({ name }) => name);
    assertEquals(names.filter((name) => name.startsWith(BEST_CHECKPOINT)).toSorted(), [
      BEST_CHECKPOINT,
      `${BEST_CHECKPOINT}.superseded`,
    ]);
  }
});

Deno.test('linearProbe() takes resume: "auto" too', async () => {
  using folder = new RunFolder(8, 8);
  const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const files = { data, testData, output: folder.makeOutput("lincls"), pretrained: TINY_TEACHER };
  const options = { ...files, plugins: [TINY_ENCODER], imageSize: 32, batchSize: 4, workers: 1 };
  const firstEpochs: number[] = [];
  for (const epochs of [1, 2]) {
    const run = linearProbe({ ...options, epochs, resume: "auto" });
    for await (const event of run) if (event.type === "plan") firstEpochs.push(event.firstEpoch);
    await run.result;
  }
  assertEquals(firstEpochs, [0, 1]);
});

Deno.test("takeOutputFolder() names the newest checkpoint, the one that --resume auto takes", async () => {
  using folder = new RunFolder(1);
  for (
    const [i, names] of [
      ["lincls_checkpoint_0001.pth.tar", "lincls_checkpoint_0002.pth.tar", "model_best.pth.tar"],
      ["T-Epoch_10_checkpoint_0005.pth.tar", "T-Epoch_2_checkpoint_0001.pth.tar"],
      ["model_best.pth.tar"],
    ].entries()
  ) {
    const output = folder.makeOutput(`out${i}`);
    for (const name of names) Deno.writeTextFileSync(join(output, name), "");
    const { message } = assertThrows(() => takeOutputFolder(output, null), UserError);
    const newest = (await listCheckpoints(output)).at(-1)?.path ?? join(output, "model_best.pth.tar");
    assertStringIncludes(message, `, or resume that run with --resume ${newest}`);
    assertEquals(basename(newest), [names[1], names[0], names[0]][i]);
  }
});

Deno.test("takeOutputFolder() takes no checkpoint for a run's whose name none gives, such as a teacher's", () => {
  using folder = new RunFolder(1);
  const output = folder.makeOutput("out");
  Deno.writeTextFileSync(join(output, "moco_v2_800ep_pretrain.pth.tar"), "");
  takeOutputFolder(output, null)[Symbol.dispose]();
  Deno.writeTextFileSync(join(output, "metrics.jsonl"), "{}\n");
  const { message } = assertThrows(() => takeOutputFolder(output, null), UserError);
  assertStringIncludes(message, "already holds a run (1 row in metrics.jsonl): choose another folder");
});

Deno.test("takeOutputFolder() refuses rows of metrics too, unless the newest checkpoint is asked for", () => {
  using folder = new RunFolder(1);
  const output = folder.makeOutput("out");
  Deno.writeTextFileSync(join(output, "metrics.jsonl"), "{}\nhalf");
  const { message } = assertThrows(() => takeOutputFolder(output, null), UserError);
  assertEquals(
    message,
    `--output ${output} already holds a run (1 row in metrics.jsonl): choose another folder`,
  );
  takeOutputFolder(output, "auto")[Symbol.dispose]();
});

// `deno task lincls --finetune`, started as people start it, and what the other tasks make of its checkpoint.
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { StoppedError } from "../../../actors/stopped_error.ts";
import { readFinetuneCheckpoint } from "../../../methods/finetune/checkpoint.ts";
import type { FinetuneEvent } from "../../../methods/finetune/events.ts";
import { FINETUNE_SAMPLE_DEFAULTS, type FinetuneOptions } from "../../../methods/finetune/options.ts";
import { runFinetune } from "../../../methods/finetune/run.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import type { RunRecord } from "../../../ui/records.ts";
import { hear } from "../../actors/hear.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";
import { eventFiles, readEvents } from "../output/tensorboard/event_file.ts";
import { recordOf, stepOf } from "../../ui/recorded_run.ts";
import { hostPrograms } from "../run_program.ts";

const runProgram = hostPrograms();
const program = (task: string) => fileURLToPath(new URL(`../../../cli/commands/${task}.ts`, import.meta.url));
const lincls = (...args: string[]) => runProgram(program("lincls"), ...args);
const PLUGIN = ["--plugin", TINY_ENCODER];

/** Stops a fine-tuning after step 3 of its first epoch of 10; returns the checkpoint, and the losses that it told. */
async function stopWithinEpoch(folder: RunFolder): Promise<{ checkpoint: string; losses: number[] }> {
  const controller = new AbortController();
  const losses: number[] = [];
  const options: FinetuneOptions = {
    ...FINETUNE_SAMPLE_DEFAULTS,
    ...{ pretrained: TINY_TEACHER, arch: "tiny_convnet", plugins: [TINY_ENCODER], which: "student" },
    ...{ data: join(folder.data, "train.tsv"), testData: join(folder.data, "test.tsv") },
    ...{ output: folder.makeOutput("stopped"), workers: 1, epochs: 2, batchSize: 4 },
    ...{ resume: null, evaluate: false, classes: null },
  };
  const stopAt = hear<FinetuneEvent>({
    step({ step, score }) {
      losses.push(score.loss);
      if (step === 3) controller.abort(new Error("enough"));
    },
  });
  const stopping = () => runFinetune(options, stopAt, controller.signal);
  const { checkpoint } = await assertRejects(stopping, StoppedError);
  return { checkpoint: checkpoint!, losses };
}

Deno.test("lincls --finetune --evaluate says that a checkpoint is from within an epoch", async () => {
  using folder = new RunFolder(40, 20);
  const { checkpoint } = await stopWithinEpoch(folder);
  using file = await openCheckpointFile(checkpoint);
  const { epoch, resume: { batch } } = readFinetuneCheckpoint(file);
  assertEquals([epoch, batch >= 3], [0, true]);
  const output = join(folder.path, "evaluated");
  const small = ["-b", "4", "--image-size", "32", "-j", "1", ...PLUGIN, "--output", output, folder.data];
  const { code, stdout, stderr } = await lincls("--finetune", "-e", "--resume", checkpoint, ...small);
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /^test within epoch 0: top-1 /m);
  assertEquals(JSON.parse(Deno.readTextFileSync(join(output, "scores.jsonl"))).step, batch);

  // Its rates are those that the checkpoint was trained with, and not those of this command line.
  const rates = ["--lr", "3", "--lr-last-layer", "4"];
  const said = await lincls(
    "--finetune",
    "-e",
    "--resume",
    checkpoint,
    ...small.with(-2, join(folder.path, "again")),
    ...rates,
    "--json",
  );
  assertEquals([said.code, said.stderr], [0, ""]);
  const lines = said.stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
  const { lr, lr_last_layer } = lines.find(({ type }) => type === "evaluation");
  const { lr: trained, lrLastLayer } = FINETUNE_SAMPLE_DEFAULTS;
  assertEquals([lr, lr_last_layer], [trained, lrLastLayer]);
});

Deno.test("a fine-tuning that is resumed within an epoch gives TensorBoard the mean loss of all its steps", async () => {
  using folder = new RunFolder(40, 20);
  const { checkpoint, losses } = await stopWithinEpoch(folder);
  const output = dirname(checkpoint);
  // What the command line would have left there.
  const record: RunRecord = { ...recordOf(), task: "lincls", status: "interrupted" };
  Deno.writeTextFileSync(join(output, "run.json"), JSON.stringify(record));
  const metrics = join(output, "metrics.jsonl");
  const rows = losses.map((loss, i) => ({ ...stepOf(i + 1), epoch: 0, loss }));
  Deno.writeTextFileSync(metrics, rows.map((row) => JSON.stringify(row) + "\n").join(""));
  const small = ["--epochs", "1", "-b", "4", "--image-size", "32", "-j", "1", ...PLUGIN, "--output", output];
  const { code, stderr } = await lincls("--finetune", ...small, "--resume", checkpoint, folder.data);
  assertEquals([code, stderr], [0, ""]);
  const all = Deno.readTextFileSync(metrics).trimEnd().split("\n").map((row) => JSON.parse(row).loss);
  assertEquals(all.length, 10);
  const events = readEvents(eventFiles(output)[0]);
  const [mean] = events.filter(({ tag }) => tag === "train_loss");
  assertAlmostEquals(mean.scalar!, all.reduce((sum, loss) => sum + loss, 0) / all.length, 1e-5);
});

Deno.test("lincls --finetune trains a checkpoint on a share of the labels, and every task takes what it wrote", async () => {
  using folder = new RunFolder(80, 40);
  const output = join(folder.path, "out");
  const flags = ["--finetune", "--label-fraction", "0.5", "--lr-last-layer", "0.05", "--gamma", "0.5"];
  const small = [..."--epochs 2 --decay_epochs 1 -b 8 --image-size 32 -j 1 -p 2".split(" "), ...PLUGIN];
  const ended = await lincls(
    "--pretrained",
    TINY_TEACHER,
    ...flags,
    ...small,
    ..."--profile --stats-every 3".split(" "),
    "--output",
    output,
    folder.data,
  );
  assertEquals([ended.code, ended.stderr], [0, ""]);
  const [, images, batches] = /^images +(\d+) training.*\n[^]*^training +2 epochs of (\d+) batches of 8/m
    .exec(
      ended.stdout,
    )!;
  assertEquals(Number(batches), Math.floor(Number(images) / 8));
  for (
    const line of [
      /^--label-fraction 0\.5: learning from \d+ of 80 images, \d to \d of each of 10 classes, chosen by --seed 0$/m,
      /^encoder +tiny_convnet, .*seed_teacher_.*\.pth\.tar, trained too$/m,
      /^classify +8 features, 10 classes$/m,
      /^test after epoch 1: top-1 \d+\.\d\d %, top-5 \d+\.\d\d %, top-1 while learning \d+\.\d\d %$/m,
      /^finetune_trainer, tiny_convnet fine-tuning step\b/m,
      /^train_augmenter, /m,
      /^best +model_best\.pth\.tar$/m,
    ]
  ) assertMatch(ended.stdout, line);
  const [events] = eventFiles(output);
  const tensorboard = readEvents(events);
  const at = (wanted: string) => tensorboard.filter(({ tag }) => tag === wanted).map(({ step }) => step);
  for (const tag of ["finetune_acc1", "train_loss", "learning_rate", "images_per_second"]) {
    assertEquals(at(tag), [0, 1], tag);
  }
  assertEquals(at("step_loss"), Array.from({ length: 2 * Number(batches) }, (_, i) => i + 1));
  const files = [...Deno.readDirSync(output)].map(({ name }) => name).toSorted();
  assertEquals(files, [
    "actors.json",
    "config.json",
    basename(events),
    "finetune_checkpoint_0001.pth.tar",
    "log.txt",
    "metrics.jsonl",
    "model_best.pth.tar",
    "profile.json",
    "report.html",
    "run.json",
    "scores.jsonl",
    "stats.jsonl",
    "tuning.json",
  ]);
  const readJson = (name: string) => JSON.parse(Deno.readTextFileSync(join(output, name)));
  const { finetune, label_fraction, lr, lr_last_layer, gamma, schedule } = readJson("config.json");
  assertEquals([finetune, label_fraction, lr, lr_last_layer, gamma, schedule], [true, 0.5, 0.01, 0.05, 0.5, [
    1,
  ]]);
  const rows = Deno.readTextFileSync(join(output, "scores.jsonl")).trim().split("\n").map((row) =>
    JSON.parse(row)
  );
  const perEpoch = Number(batches);
  assertEquals(rows.map(({ by, step }) => [by, step]), [["finetune", perEpoch], ["finetune", 2 * perEpoch]]);
  const { task, status, results } = readJson("run.json");
  assertEquals([task, status], ["lincls", "finished"]);
  assertEquals(results.slice(1).map(({ name }: { name: string }) => name), [
    "fine-tuned, best top-1",
    "fine-tuned, last top-1",
    "fine-tuned, last top-5",
  ]);

  const stats = Deno.readTextFileSync(join(output, "stats.jsonl")).trim().split("\n");
  assertEquals(stats.length, Math.floor(2 * perEpoch / 3));

  // Gone on with.
  const resume = ["--output", output, "--resume", "auto", folder.data];
  const longer = await lincls(
    "--pretrained",
    TINY_TEACHER,
    ...flags,
    ...small.with(1, "3"),
    ...resume,
    "--json",
  );
  assertEquals(longer.code, 0, longer.stderr);
  const told = longer.stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
  assertEquals(told.filter(({ type }) => type === "step").map(({ epoch }) => epoch), Array(perEpoch).fill(2));
  assertEquals(told.at(-1).type, "result");
  const done = await lincls("--pretrained", TINY_TEACHER, ...flags, ...small.with(1, "3"), ...resume);
  assertEquals([done.code, done.stderr], [0, ""]);
  assertStringIncludes(done.stdout, "3 of 3 epochs are done");
  const linear = await lincls(...small, ...resume.with(3, join(output, "model_best.pth.tar")));
  assertStringIncludes(linear.stderr, "it is of a fine-tuning; add --finetune");

  // What it wrote is an encoder for every task.
  const best = join(output, "model_best.pth.tar");
  const run = async (task: string, ...args: string[]) => {
    const result = await runProgram(program(task), ...args, ...PLUGIN);
    assertEquals(result.code, 0, result.stderr);
    return result.stdout;
  };
  assertMatch(await run("inspect", best), /tiny_convnet/);
  assertMatch(await run("knn", "--pretrained", best, "--knn-k", "5", folder.data), /\d+\.\d\d %/);
  const features = join(folder.path, "features.npy");
  await run("embed", "--pretrained", best, "-o", features, folder.data);
  assert(Deno.statSync(features).size > 80 * 8 * 4);
  const exported = join(folder.path, "backbone.pth");
  await run("export", "--part", "backbone", best, "-o", exported);
  assert(Deno.statSync(exported).isFile);
  const output2 = ["--output", join(folder.path, "linear")];
  const evaluated = await run(
    "lincls",
    "--pretrained",
    best,
    ..."--epochs 1 -b 16 -j 1".split(" "),
    ...output2,
    folder.data,
  );
  assertMatch(evaluated, /^encoder +tiny_convnet, .*model_best/m);
});

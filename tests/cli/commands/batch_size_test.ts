// Runs that are resumed at an epoch's end with another batch size: their records are those of one run.
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";
import { eventFiles, readEvents } from "../output/tensorboard/event_file.ts";
import { hostPrograms } from "../run_program.ts";

const runProgram = hostPrograms();
const program = (task: string) => fileURLToPath(new URL(`../../../cli/commands/${task}.ts`, import.meta.url));

/** Runs a task to its end. */
async function run(task: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram(program(task), ...args, "--plugin", TINY_ENCODER);
  assertEquals([code, stderr], [0, ""], stdout);
  return stdout;
}

interface Row {
  epoch: number;
  step: number;
  loss: number;
}

function readRows(output: string, name: string): Row[] {
  return Deno.readTextFileSync(join(output, name)).trim().split("\n").map((line) => JSON.parse(line));
}

const readRecord = (output: string) => JSON.parse(Deno.readTextFileSync(join(output, "run.json")));

/** Each epoch so many times as it has steps. */
const epochsOf = (...lengths: number[]) => lengths.flatMap((length, epoch) => Array(length).fill(epoch));

Deno.test("distill counts its steps on where an epoch has another batch size, and keeps the rows of before", async () => {
  using folder = new RunFolder(32, 10);
  const output = join(folder.path, "out");
  const train = (batchSize: number, epochs: number, ...more: string[]) =>
    run(
      "distill",
      ...`-b ${batchSize} --epochs ${epochs} --queue 16 --image-size 32 -j 1 --lr 0.1 --warmup-epochs 0 --knn-k 5`
        .split(" "),
      ..."--knn-every 1 --stats-every 2 -p 1 --no-insight --no-tune --resume auto".split(" "),
      ...[
        "--data",
        folder.data,
        "--distill",
        TINY_TEACHER,
        "-a",
        "tiny_convnet",
        "--output",
        output,
        ...more,
      ],
    );
  await train(4, 4, "--limit-steps", "16");
  const before = readRows(output, "metrics.jsonl");
  assertEquals(before.map(({ epoch }) => epoch), epochsOf(8, 8));

  // Larger batches, stopped within an epoch, and gone on with there; then smaller ones.
  const limited = await train(8, 4, "--limit-steps", "2");
  assertMatch(limited, /^epoch 2 of 4 +step 2\/4 /m);
  const stopped = readRows(output, "metrics.jsonl");
  assertEquals(stopped.slice(0, 16), before);
  assertEquals(stopped.map(({ epoch }) => epoch), epochsOf(8, 8, 2));
  const larger = await train(8, 4);
  const all = readRows(output, "metrics.jsonl");
  assertEquals(all.map(({ epoch }) => epoch), epochsOf(8, 8, 4, 4));
  const mean = (rows: Row[]) => (rows.reduce((sum, { loss }) => sum + loss, 0) / rows.length).toFixed(4);
  const [first, last] = [mean(all.slice(0, 4)), mean(all.slice(-4))];
  assertMatch(larger, new RegExp(`mean loss ${first} in steps 1 to 4, ${last} in epoch 3$`, "m"));
  const means = eventFiles(output).flatMap((file) => readEvents(file)).filter(({ tag }) =>
    tag === "train_loss"
  );
  assertEquals(means.map(({ step }) => step).filter((epoch) => epoch >= 2), [2, 3]);
  const { plan, results } = readRecord(output);
  const { steps_per_epoch, total_steps, first_step, extra_steps } = plan;
  assertEquals([steps_per_epoch, total_steps, first_step, extra_steps], [4, 24, 18, 8]);
  assertMatch(JSON.stringify(results), /"name":"mean loss, steps 1 to 4"/);

  await train(4, 5);
  const metrics = readRows(output, "metrics.jsonl");
  assertEquals(metrics.map(({ epoch }) => epoch), epochsOf(8, 8, 4, 4, 8));
  const steps = Array.from({ length: 32 }, (_, i) => i + 1);
  assertEquals(metrics.map(({ step }) => step), steps);
  assertEquals(
    readRows(output, "stats.jsonl").map(({ step }) => step),
    steps.filter((step) => step % 2 === 0),
  );
  const scores = Deno.readTextFileSync(join(output, "scores.jsonl")).trim().split("\n").map((row) =>
    JSON.parse(row)
  );
  const evaluated = scores.filter(({ of }) => of === "student").map(({ step }) => step);
  // After the steps of --limit-steps too.
  assertEquals(new Set(evaluated), new Set([0, 8, 16, 18, 20, 24, 32]));
  assertEquals(evaluated.length, 7);
});

for (const [kind, ...own] of [["linear evaluation", "--lr", "0.1"], ["fine-tuning", "--finetune"]]) {
  Deno.test(`a ${kind} counts its steps on where an epoch has another batch size`, async () => {
    using folder = new RunFolder(32, 10);
    const output = join(folder.path, "out");
    for (const [batchSize, epochs] of [[4, 1], [8, 2], [4, 3]]) {
      const flags = `-b ${batchSize} --epochs ${epochs} --image-size 32 -j 1 --no-tune --resume auto`.split(
        " ",
      );
      await run("lincls", "--pretrained", TINY_TEACHER, ...own, ...flags, "--output", output, folder.data);
    }
    const metrics = readRows(output, "metrics.jsonl");
    assertEquals(metrics.map(({ epoch }) => epoch), epochsOf(8, 4, 8));
    assertEquals(metrics.map(({ step }) => step), Array.from({ length: 20 }, (_, i) => i + 1));
    assertEquals(readRows(output, "scores.jsonl").map(({ step }) => step), [8, 12, 20]);
    assertEquals(readRecord(output).plan.total_steps, 20);
  });
}

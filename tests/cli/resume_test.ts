// Runs of `deno task distill` that are killed at any moment, and gone on with.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Random } from "../../data/random.ts";
import { SAMPLE_TEACHER } from "../../data/sample.ts";
import { listCheckpoints } from "../../models/checkpoint/run_checkpoints.ts";
import { digestFile, RunFolder } from "../actors/small_run.ts";
import { runProgram, taskFlags } from "./run_program.ts";

const PROGRAM = fileURLToPath(new URL("../../cli/distill.ts", import.meta.url));
const KILLS = Deno.env.get("SEED_LONG") === "1" ? 20 : 2;
/** Of eight steps each. */
const EPOCHS = KILLS > 2 ? 12 : 2;

function flags(folder: RunFolder, output: string, epochs = EPOCHS): string[] {
  return `--data ${folder.data} --distill ${SAMPLE_TEACHER} -a mobilenetv3_small --output ${output} -b 4 --queue 16
    --image-size 32 --epochs ${epochs} -j 2 --save-every 3 --lr 0.1 --warmup-epochs 0 -p 1 --small-views 1 --small-size 16
    --no-insight --no-tune`
    .split(/\s+/);
}

function countRows(output: string): number {
  try {
    return Deno.readTextFileSync(join(output, "metrics.jsonl")).split("\n").length - 1;
  } catch {
    return 0;
  }
}

/** Starts a run, and kills it with SIGKILL after so many steps of its own and a moment more; false where it had ended. */
async function killAfter(
  args: string[],
  output: string,
  steps: number,
  milliseconds: number,
): Promise<boolean> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [...taskFlags(PROGRAM), PROGRAM, ...args],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  let ended = false;
  const status = child.status.then((result) => {
    ended = true;
    return result;
  });
  const before = countRows(output);
  while (!ended && countRows(output) < before + steps) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended by itself.
  }
  return !(await status).success;
}

Deno.test(`a run that is killed ${KILLS} times and gone on with gives the bytes of an unbroken one`, async () => {
  using folder = new RunFolder(32);
  const whole = join(folder.path, "whole");
  const unbroken = await runProgram(PROGRAM, ...flags(folder, whole));
  assertEquals([unbroken.code, unbroken.stderr], [0, ""]);

  const random = new Random(Number(Deno.env.get("SEED_FUZZ") ?? 1), "kills");
  const broken = join(folder.path, "broken");
  const args = [...flags(folder, broken), "--resume", "auto"];
  for (let kill = 0; kill < KILLS; kill++) {
    if (!await killAfter(args, broken, random.integer(0, KILLS > 2 ? 2 : 6), random.integer(0, 400))) break;
    // Whatever is there is whole.
    for (const { path } of await listCheckpoints(broken)) await digestFile(path);
  }
  const last = await runProgram(PROGRAM, ...args);
  assertEquals([last.code, last.stderr], [0, ""], last.stdout);
  const [expected, found] = [await listCheckpoints(whole), await listCheckpoints(broken)];
  assertEquals(found.map(({ epoch }) => epoch), expected.map(({ epoch }) => epoch));
  for (const [i, { path }] of expected.entries()) {
    assertEquals(await digestFile(found[i].path), await digestFile(path));
  }
  // Each step is in the metrics once, with the same loss.
  const rows = (output: string) =>
    Deno.readTextFileSync(join(output, "metrics.jsonl")).trim().split("\n").map((line) => {
      const { step, loss } = JSON.parse(line);
      return [step, loss];
    });
  assertEquals(rows(broken), rows(whole));
  assertEquals(rows(broken).length, 8 * EPOCHS);
  // Once more, there is nothing left to do, and that is no error.
  const done = await runProgram(PROGRAM, ...args);
  assertEquals([done.code, done.stderr], [0, ""]);
  assertStringIncludes(done.stdout, `${EPOCHS} of ${EPOCHS} epochs are done`);
  assert([...Deno.readDirSync(broken)].every(({ name }) => !name.endsWith(".tmp")));
});

Deno.test("--keep keeps the newest checkpoints, and --student-init starts from an exported student", async () => {
  using folder = new RunFolder(16);
  const first = join(folder.path, "first");
  const run = (output: string, ...more: string[]) =>
    runProgram(PROGRAM, ...flags(folder, output, 3), ...more);
  const ended = await run(first, "--keep", "1");
  assertEquals([ended.code, ended.stderr], [0, ""]);
  const [checkpoint, ...others] = await listCheckpoints(first);
  assertEquals([checkpoint.epoch, others], [2, []]);

  const again = await run(
    join(folder.path, "again"),
    "--student-init",
    checkpoint.path,
    "--limit-steps",
    "1",
  );
  assertEquals([again.code, again.stderr], [0, ""]);
  assertStringIncludes(
    again.stdout,
    `the student starts from ${checkpoint.path} (a seed checkpoint), its head too`,
  );
  const linear = await run(
    join(folder.path, "linear"),
    "--student-init",
    checkpoint.path,
    "--no-student-mlp",
  );
  assertStringIncludes(linear.stdout, "but not its head, which is another one: a fresh head is made");
  const wrong = await run(join(folder.path, "wrong"), "--student-init", SAMPLE_TEACHER);
  assertEquals(wrong.code, 1);
  assertStringIncludes(wrong.stderr, "does not fit the encoder chosen");
  // It goes on where the other ended: nearer than from fresh weights.
  const firstLoss = (stdout: string) => Number(/loss (\d+\.\d+)/.exec(stdout)![1]);
  assert(firstLoss(again.stdout) < firstLoss(ended.stdout));
});

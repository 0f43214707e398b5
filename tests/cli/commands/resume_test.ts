// Runs of `deno task distill` that are killed at any moment, and gone on with.
import { assert, assertEquals, assertGreater, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Random } from "../../../data/random.ts";
import { SAMPLE_TEACHER } from "../../../data/sample.ts";
import { listCheckpoints } from "../../../models/checkpoint/run_checkpoints.ts";
import { digestFile, RunFolder, TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";
import { IS_LONG } from "../../long.ts";
import { hostPrograms, taskFlags } from "../run_program.ts";

const runProgram = hostPrograms();
const PROGRAM = fileURLToPath(new URL("../../../cli/commands/distill.ts", import.meta.url));
const KILLS = IS_LONG ? 20 : 1;
/** Of eight steps each. */
const EPOCHS = KILLS > 2 ? 30 : 2;

function flags(folder: RunFolder, output: string, epochs = EPOCHS): string[] {
  return `--data ${folder.data} --distill ${TINY_TEACHER} --plugin ${TINY_ENCODER} -a tiny_convnet --output ${output} -b 4 --queue 16
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

Deno.test(`a run that is killed ${KILLS === 1 ? "once" : `${KILLS} times`} and gone on with gives the bytes of an unbroken one`, async () => {
  using folder = new RunFolder(32);
  const whole = join(folder.path, "whole");
  const unbroken = await runProgram(PROGRAM, ...flags(folder, whole));
  assertEquals([unbroken.code, unbroken.stderr], [0, ""]);

  const random = new Random(Number(Deno.env.get("SEED_FUZZ") ?? 1), "kills");
  const broken = join(folder.path, "broken");
  const args = [...flags(folder, broken), "--resume", "auto"];
  let kills = 0;
  for (; kills < KILLS; kills++) {
    if (!await killAfter(args, broken, random.integer(0, KILLS > 2 ? 2 : 6), random.integer(0, 100))) break;
    // Whatever is there is whole.
    for (const { path } of await listCheckpoints(broken)) await digestFile(path);
  }
  // On a fast machine it may come to its end before it was killed so often.
  assertGreater(kills, 0);
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

/** A run of two epochs that is evaluated, of a student that compiles in a moment. */
function evaluatedFlags(folder: RunFolder, output: string): string[] {
  return [
    ..."-b 4 --queue 16 --image-size 32 --epochs 2 -j 1 --lr 0.5 --warmup-epochs 0 --knn-k 5 --knn-every 1 --no-insight --no-tune"
      .split(" "),
    ...["--data", folder.data, "--distill", TINY_TEACHER, "--plugin", TINY_ENCODER, "-a", "tiny_convnet"],
    ...["--output", output],
  ];
}

const readRecord = (output: string) => JSON.parse(Deno.readTextFileSync(join(output, "run.json")));

const readScores = (output: string) =>
  Deno.readTextFileSync(join(output, "scores.jsonl")).trim().split("\n").toSorted();

/** Every file of a folder, by name. */
function contentOf(output: string): Record<string, Uint8Array> {
  const files = [...Deno.readDirSync(output)].filter(({ isFile }) => isFile);
  return Object.fromEntries(files.map(({ name }) => [name, Deno.readFileSync(join(output, name))]));
}

Deno.test("a run that is killed after its last checkpoint gets its result, and a whole one stays as it is", {
  ignore: !IS_LONG, // what is known is not evaluated again, and the rest is: in one process, in every run of the tests
}, async () => {
  using folder = new RunFolder(16, 200);
  const whole = join(folder.path, "whole");
  const unbroken = await runProgram(PROGRAM, ...evaluatedFlags(folder, whole));
  assertEquals([unbroken.code, unbroken.stderr], [0, ""]);

  const broken = join(folder.path, "broken");
  const args = [...evaluatedFlags(folder, broken), "--resume", "auto"];
  const child = new Deno.Command(Deno.execPath(), {
    args: [...taskFlags(PROGRAM), PROGRAM, ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let told = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    told += text;
    if (!told.includes("training finished; classifying")) continue;
    child.kill("SIGKILL");
    break;
  }
  await child.status;
  assertEquals((await listCheckpoints(broken)).map(({ epoch }) => epoch), [0, 1]);
  assertEquals(readRecord(broken).status, "running");
  const checkpoint = await digestFile((await listCheckpoints(broken))[1].path);

  const finished = await runProgram(PROGRAM, ...args);
  assertEquals([finished.code, finished.stderr], [0, ""]);
  assertStringIncludes(finished.stdout, "all 8 steps are done; finishing the run");
  const table = (stdout: string) => /^weighted kNN, k[^]*student after.*$/m.exec(stdout)![0];
  assertEquals(table(finished.stdout), table(unbroken.stdout));
  assertEquals(readScores(broken), readScores(whole));
  const figures = (output: string) =>
    readRecord(output).results.filter(({ unit, name }: { unit: string; name: string }) =>
      unit === "%" || name.startsWith("mean loss")
    );
  assertEquals([readRecord(broken).status, figures(broken)], ["finished", figures(whole)]);
  assert(Deno.statSync(join(broken, "report.html")).isFile);
  assertEquals(await digestFile((await listCheckpoints(broken))[1].path), checkpoint);

  const before = contentOf(broken);
  const again = await runProgram(PROGRAM, ...args);
  assertEquals([again.code, again.stderr], [0, ""]);
  assertStringIncludes(again.stdout, "2 of 2 epochs are done, so there is nothing left to do");
  assertEquals(contentOf(broken), before);
  // Of another temperature it is another run.
  const longer = args.map((arg, i) => args[i - 1] === "--epochs" ? "3" : arg);
  const refused = await runProgram(PROGRAM, ...longer, "--temp", "0.4");
  assertEquals(refused.code, 1);
  assertMatch(
    refused.stderr,
    /is from a different run: --temp is 0\.4, was 0\.2\. To resume, use --temp 0\.2; .*--resume-anyway\n$/,
  );
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
    `the student starts from ${checkpoint.path} (a seed checkpoint), with its head`,
  );
  const linear = await run(
    join(folder.path, "linear"),
    "--student-init",
    checkpoint.path,
    "--no-student-mlp",
  );
  assertStringIncludes(linear.stdout, "with a new head, as the checkpoint's differs");
  const wrong = await run(join(folder.path, "wrong"), "--student-init", SAMPLE_TEACHER);
  assertEquals(wrong.code, 1);
  assertStringIncludes(wrong.stderr, "does not fit the encoder chosen");
  // It goes on where the other ended: nearer than from fresh weights.
  const firstLoss = (stdout: string) => Number(/loss (\d+\.\d+)/.exec(stdout)![1]);
  assert(firstLoss(again.stdout) < firstLoss(ended.stdout));
});

Deno.test("a run goes on without the checkpoint of --student-init, and does not begin without it", async () => {
  using folder = new RunFolder(16);
  const init = join(folder.path, "init.pth.tar");
  Deno.copyFileSync(TINY_TEACHER, init);
  const run = (name: string, ...more: string[]) =>
    runProgram(
      PROGRAM,
      ...flags(folder, join(folder.path, name), 1),
      ...["--student-init", init, "--limit-steps", "1", ...more],
    );
  assertEquals((await run("out")).code, 0);
  Deno.removeSync(init);
  const resumed = await run("out", "--resume", "auto");
  assertEquals([resumed.code, resumed.stderr], [0, ""]);
  assertMatch(resumed.stdout, /student +tiny_convnet, resumed from /);
  const [checkpoint] = await listCheckpoints(join(folder.path, "out"));
  assertEquals((await run("named", "--resume", checkpoint.path)).code, 0);
  for (const more of [[], ["--resume", "auto"]]) {
    const begun = await run("other", ...more);
    assertEquals(begun.code, 1);
    assertMatch(begun.stderr, /^error: --student-init: .*init\.pth\.tar does not exist/);
  }
});

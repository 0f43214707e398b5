/** `mpirun -n 2 deno task distill`: who writes, how all end together, and that a resumed run has the bits of an unbroken one. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { RunReader } from "../../../ui/run_reader.ts";
import { ended, launch, launchers, mpiTest } from "../../actors/ranks/launch.ts";
import { RunFolder } from "../../actors/small_run.ts";
import { IS_LONG } from "../../long.ts";
import { taskFlags } from "../run_program.ts";
import { checkpoints, digestLast, distillBy, EPOCHS, pidOf, untilSaved } from "./ranked_distill.ts";

mpiTest("two ranks distil: one writes and speaks; ended, they go on to the same bits", async (launcher) => {
  using folder = new RunFolder(24);
  const whole = await distillBy(launcher, folder, "whole");
  assertEquals(whole.code, 0, whole.stderr);
  // Each line once, and nothing of the second rank.
  assertEquals(whole.stdout.match(/^epoch 0 of 10 {2}step 1\/6 /gm)?.length, 1);
  assertEquals(whole.stdout.match(/^report {4}report\.html$/gm)?.length, 1);
  assertEquals(whole.stderr.includes("rank 1"), false, whole.stderr);
  const read = (name: string) => JSON.parse(Deno.readTextFileSync(join(folder.path, "whole", name)));
  assertEquals(read("config.json").ranks, 2);
  assertMatch(read("run.json").command, /mpirun -n 2 --bind-to none deno task distill /);
  // What is the second rank's own is beside it.
  const log = Deno.readTextFileSync(join(folder.path, "whole", "log_rank1.txt")).split("\n");
  assertMatch(log[0], /^\S+Z rank 1 of 2 on /);
  assertMatch(log.at(-2)!, /^\S+Z finished: 60 steps in \S+; \S+ % of the time in waits for other ranks, /);
  const told = (await new RunReader(join(folder.path, "whole"), 0).poll())
    .flatMap((message) => message.kind === "actors" || message.kind === "rank" ? [message.record] : []);
  const trained = told.map(({ rank, actors }) => [
    ...[rank?.rank, rank?.size],
    actors.some(({ name, handled }) => name === "student_trainer" && handled >= 60),
  ]);
  assertEquals(trained.toSorted(), [[0, 2, true], [1, 2, true]]);
  const expected = await digestLast(join(folder.path, "whole"));

  // Under one launcher a rank is killed, under the other one it is stopped.
  const signal = launcher === launchers[0] ? "SIGKILL" : "SIGTERM";
  const output = join(folder.path, "ended");
  const run = distillBy(launcher, folder, "ended");
  await untilSaved(output);
  Deno.kill(pidOf(1, output)!, signal);
  const { code, stdout } = await run;
  assert(checkpoints(output).length < EPOCHS, `${checkpoints(output).length} epochs`);
  if (signal === "SIGTERM") {
    // The other one is told with the next step, saves with it, and ends with the signal's exit code.
    assertEquals(code, 130);
    assertEquals(JSON.parse(Deno.readTextFileSync(join(output, "run.json"))).status, "interrupted");
    assertMatch(stdout, /^to resume, rerun the same command with --resume auto$/m);
    assert(stdout.match(/^checkpoint saved to/gm)!.length > 1, stdout);
  } else assert(code !== 0);
  const resumed = await distillBy(launcher, folder, "ended", { "--resume": "auto" });
  assertEquals(resumed.code, 0, resumed.stderr);
  assertMatch(resumed.stdout, /from step \d+/);
  assertEquals(await digestLast(output), expected);
}, IS_LONG ? launchers : launchers.slice(0, 1)); // a fine-tuning is stopped under the last one

mpiTest("ranks that cannot begin say so once, and end", async (launcher) => {
  using folder = new RunFolder(24);
  const changes = { "--batch-size": "5", "--queue": "20" };
  const { code, stderr } = await distillBy(launcher, folder, "odd", changes);
  assert(code !== 0);
  assertEquals(stderr.split("\n").filter((line) => line.includes("error: ")), [
    "error: --batch-size 5 cannot be shared by 2 ranks: expected a multiple of 2, such as 4 or 6",
  ]);
});

mpiTest("a task that is no run of several ranks runs once", async (launcher) => {
  const program = "cli/commands/models.ts";
  const { code, stdout, stderr } = await ended(
    launch(launcher, 2, [...taskFlags(program).slice(1), program]),
  );
  assertEquals([code, stdout.match(/^resnet18 /gm)?.length], [0, 1], stderr);
});

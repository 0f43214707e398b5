/** `mpirun -n 2 deno task distill`: who writes, how all end together, and that a resumed run has the bits of an unbroken one. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { ended, launch, launchers, mpiTest } from "../../actors/ranks/launch.ts";
import { digestFile, RunFolder, TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";
import { taskFlags } from "../run_program.ts";

const PROGRAM = "cli/commands/distill.ts";

const FLAGS: Readonly<Record<string, string>> = {
  "--distill": TINY_TEACHER,
  "--teacher-arch": "tiny_convnet",
  "--student-arch": "tiny_convnet",
  "--plugin": TINY_ENCODER,
  "--batch-size": "4",
  "--workers": "1",
  "--queue": "16",
  "--image-size": "32",
  "--epochs": "10",
  "--print-freq": "1",
};

/** Starts a distillation of six steps an epoch by two ranks. */
function start(
  launcher: string,
  { data, path }: RunFolder,
  output: string,
  changes: Readonly<Record<string, string>> = {},
): Deno.ChildProcess {
  const flags = { ...FLAGS, "--data": data, "--output": join(path, output), ...changes };
  return launch(launcher, 2, [
    ...[...taskFlags(PROGRAM).slice(1), PROGRAM, "--no-tune", "--no-insight"],
    ...Object.entries(flags).flat(),
  ]);
}

function checkpoints(folder: string): string[] {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  return names.filter((name) => name.endsWith(".pth.tar")).toSorted();
}

/** The process that is a rank of the run that writes to a folder. */
function pidOf(rank: number, output: string): number {
  const marks = [`OMPI_COMM_WORLD_RANK=${rank}`, `PMI_RANK=${rank}`];
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const [command, environment] = ["cmdline", "environ"].map((file) =>
        Deno.readTextFileSync(`/proc/${name}/${file}`).split("\0")
      );
      if (environment.some((entry) => marks.includes(entry)) && command.includes(output)) return Number(name);
    } catch {
      // it has ended, or is somebody else's
    }
  }
  throw new Error(`there is no rank ${rank} of ${output}`);
}

/** Waits until a run has written its first checkpoint. */
async function untilSaved(output: string): Promise<void> {
  const isSaved = async () =>
    await Deno.stat(output).then(() => true, () => false) && checkpoints(output).length > 0;
  while (!await isSaved()) await new Promise((resolve) => setTimeout(resolve, 20));
}

mpiTest("two ranks distil: one writes and speaks; ended, they go on to the same bits", async (launcher) => {
  using folder = new RunFolder(24);
  const whole = await ended(start(launcher, folder, "whole"));
  assertEquals(whole.code, 0, whole.stderr);
  // Each line once, and nothing of the second rank.
  assertEquals(whole.stdout.match(/^epoch 0 of 10 {2}step 1\/6 /gm)?.length, 1);
  assertEquals(whole.stdout.match(/^report {4}report\.html$/gm)?.length, 1);
  assertEquals(whole.stderr.includes("rank 1"), false, whole.stderr);
  const [last] = checkpoints(join(folder.path, "whole")).toReversed();
  const expected = await digestFile(join(folder.path, "whole", last));

  // Under one launcher a rank is killed, under the other one it is stopped.
  const signal = launcher === launchers[0] ? "SIGKILL" : "SIGTERM";
  const output = join(folder.path, "ended");
  const process = start(launcher, folder, "ended");
  await untilSaved(output);
  Deno.kill(pidOf(1, output), signal);
  const { code, stdout } = await ended(process);
  assert(checkpoints(output).length < 10, `${checkpoints(output).length} epochs`);
  if (signal === "SIGTERM") {
    // The other one is told with the next step, saves with it, and ends with the signal's exit code.
    assertEquals(code, 130);
    assert(stdout.match(/^checkpoint saved to/gm)!.length > 1, stdout);
  } else assert(code !== 0);
  const resumed = await ended(start(launcher, folder, "ended", { "--resume": "auto" }));
  assertEquals(resumed.code, 0, resumed.stderr);
  assertMatch(resumed.stdout, /from step \d+/);
  assertEquals(await digestFile(join(output, last)), expected);
});

mpiTest("ranks that cannot begin say so once, and end", async (launcher) => {
  using folder = new RunFolder(24);
  const changes = { "--batch-size": "5", "--queue": "20" };
  const { code, stderr } = await ended(start(launcher, folder, "odd", changes));
  assert(code !== 0);
  assertEquals(stderr.split("\n").filter((line) => line.includes("error: ")), [
    "error: --batch-size 5 cannot be shared by 2 ranks: expected a multiple of 2, such as 4 or 6",
  ]);
});

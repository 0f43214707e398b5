/** `mpirun -n 2 deno task embed`, and the other tasks: who writes and speaks, and that all is as one process has it. */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { ended, launch, type Launched, launchers, mpiTest } from "../../actors/ranks/launch.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";
import { runProgram, taskFlags } from "../run_program.ts";
import { pidOf } from "./ranked_distill.ts";

const program = (task: string) => `cli/commands/${task}.ts`;
const TINY = ["--pretrained", TINY_TEACHER, "--image-size", "32", "--plugin", TINY_ENCODER];

/** Runs a task as two ranks. */
async function runRanks(launcher: string, task: string, args: readonly string[]): Promise<Launched> {
  const path = program(task);
  return await ended(launch(launcher, 2, [...taskFlags(path).slice(1), path, ...args]));
}

/** How a run ended, as its record says. */
function statusOf(output: string): string {
  return JSON.parse(Deno.readTextFileSync(join(output, "run.json"))).status;
}

/** Waits for the first step of an epoch. */
async function untilIn(epoch: number, output: string): Promise<void> {
  const isThere = async () =>
    await Deno.readTextFile(join(output, "metrics.jsonl")).then(
      (text) => text.includes(`"epoch":${epoch}`),
      () => false,
    );
  while (!await isThere()) await new Promise((resolve) => setTimeout(resolve, 20));
}

mpiTest(
  "embed and knn of two ranks write and say what one process does, and others run once",
  async (launcher) => {
    using folder = new RunFolder(30, 20);
    const files = ["one", "two"].map((name) => join(folder.path, `${name}.npy`));
    const embed = [...TINY, "-b", "4", folder.data, "-o"];
    assertEquals((await runProgram(program("embed"), ...embed, files[0])).code, 0);
    const embedded = await runRanks(launcher, "embed", [...embed, files[1]]);
    assertEquals(embedded.code, 0, embedded.stderr);
    assertEquals(embedded.stdout.match(/^images/gm)?.length, 1);
    const contents = (path: string) =>
      [path, path.replace(".npy", ".names.csv")].map((path) => Deno.readFileSync(path).toHex());
    assertEquals(contents(files[1]), contents(files[0]));

    const knn = [...TINY, "--json", "-k", "1,5", folder.data];
    const alone = await runProgram(program("knn"), ...knn);
    const shared = await runRanks(launcher, "knn", knn);
    assertEquals([shared.code, shared.stdout], [0, alone.stdout], shared.stderr);

    const inspected = await runRanks(launcher, "inspect", [TINY_TEACHER]);
    assertEquals([inspected.code, inspected.stdout.match(/^file /gm)?.length], [0, 1], inspected.stderr);
  },
  launchers.slice(0, 1),
);

mpiTest(
  "lincls of two ranks is resumed by one",
  async (launcher) => {
    using folder = new RunFolder(40, 20);
    const output = join(folder.path, "linear");
    const args = [...TINY, "--output", output, "-b", "8", "-j", "1", "--lr", "0.1", folder.data];
    const shared = await runRanks(launcher, "lincls", [...args, "--epochs", "2"]);
    assertEquals(shared.code, 0, shared.stderr);
    assertEquals(shared.stdout.match(/^trained in/gm)?.length, 1);
    const { stdout, code, stderr } = await runProgram(
      program("lincls"),
      ...[...args, "--epochs", "3", "--resume", "auto"],
    );
    assertEquals(code, 0, stderr);
    assertMatch(stdout, /from epoch 2\n/);
    // The newest alone is kept.
    const saved = [...Deno.readDirSync(output)].map(({ name }) => name).filter((name) =>
      name.startsWith("lincls_")
    );
    assertEquals(saved, ["lincls_checkpoint_0002.pth.tar"]);
  },
  launchers.slice(0, 1),
  true,
); // in one process, and from rank to rank, it is resumed in every run of the tests

mpiTest(
  "lincls of two ranks saves its last whole epoch where a signal stops the second one",
  async (launcher) => {
    using folder = new RunFolder(40, 20);
    const output = join(folder.path, "linear");
    const args = [...TINY, "--output", output, "-b", "8", "-j", "1", "--lr", "0.1", folder.data];
    const ended = runRanks(launcher, "lincls", [...args, "--epochs", "10000"]);
    await untilIn(2, output);
    Deno.kill(pidOf(1, output)!, "SIGTERM");
    const { code, stdout, stderr } = await ended;
    assertEquals(code, 130, stderr);
    assertMatch(stderr, /^stopping: rank 1 of the run was stopped$/m); // the first rank, which was told
    assertMatch(stdout, /^checkpoint saved to lincls_checkpoint_\d+\.pth\.tar/m);
  },
);

mpiTest(
  "lincls --finetune of two ranks saves where a signal stops it, and goes on by itself",
  async (launcher) => {
    using folder = new RunFolder(40, 20);
    const output = join(folder.path, "tuned");
    const args = [...TINY, "--finetune", "--output", output, "-b", "4", "-j", "1", "-p", "1", folder.data];
    const ended = runRanks(launcher, "lincls", [...args, "--epochs", "100"]);
    await untilIn(0, output);
    Deno.kill(pidOf(1, output)!, "SIGUSR2");
    const { code, stdout, stderr } = await ended;
    assertEquals(code, 140, stderr); // of both ranks: a launcher may mix two codes
    assertEquals(statusOf(output), "interrupted");
    assertMatch(stdout, /^to resume, rerun the same command with --resume auto$/m);
    const [, epoch] = /^checkpoint saved to finetune_checkpoint_0*(\d+)\.pth\.tar/m.exec(stdout)!;
    const more = ["--epochs", `${Number(epoch) + 1}`, "--resume", "auto", "--resume-anyway"];
    const alone = await runProgram(program("lincls"), ...args, ...more);
    assertEquals(alone.code, 0, alone.stderr);
    assertMatch(alone.stdout, /, from step \d+/);
  },
  launchers.slice(-1),
);

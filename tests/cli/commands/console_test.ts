// What the tasks that train print, as the flags of the screen say.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";
import { hostPrograms } from "../run_program.ts";

const runProgram = hostPrograms();

/** An address that is not the usual one; macOS has only that. */
const HOST = Deno.build.os === "darwin" ? "127.0.0.1" : "127.0.0.2";

/** The command lines, of six steps each. */
const TASKS: Readonly<Record<string, readonly string[]>> = {
  distill: ["--distill", TINY_TEACHER, "-a", "tiny_convnet", "--queue", "16", "--no-insight"],
  pretrain: ["-a", "tiny_convnet", "--moco-k", "16", "--no-insight"],
  lincls: ["--pretrained", TINY_TEACHER],
};

for (const [task, own] of Object.entries(TASKS)) {
  Deno.test(`${task} prints a line every so many steps, none where it is quiet, and serves its page where it is told to`, async () => {
    using folder = new RunFolder(24, 10);
    const program = fileURLToPath(new URL(`../../../cli/commands/${task}.ts`, import.meta.url));
    const data = task === "lincls" ? [folder.data] : ["--data", folder.data];
    const run = async (name: string, ...flags: string[]) => {
      const { code, stdout, stderr } = await runProgram(
        program,
        ...own,
        ..."-b 4 --epochs 1 -j 1 --image-size 32 --no-tune --plugin".split(" "),
        ...[TINY_ENCODER, "--output", join(folder.path, name), ...flags, ...data],
      );
      assertEquals(code, 0, stderr);
      return stdout;
    };
    const stepsIn = (text: string) =>
      [...text.matchAll(/^epoch 0 of 1 +step (\d)\/6 /gm)].map(([, step]) => Number(step));
    const [often, seldom] = [await run("often", "-p", "2"), await run("seldom", "-p", "4")];
    assertEquals([stepsIn(often), stepsIn(seldom)], [[1, 2, 4, 6], [1, 4, 6]]);

    const quiet = await run("quiet", "-q", "-p", "1", "--ui", "0", "--ui-host", HOST);
    assertEquals(stepsIn(quiet), []);
    assert(Deno.readTextFileSync(join(folder.path, "quiet", "log.txt")).includes("step 2/6"));
    const told = await run("told", "--ui", "0", "--ui-host", HOST);
    assertStringIncludes(told, `page      http://${HOST}:`);
  });
}

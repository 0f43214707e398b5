/** A program in a folder of one's own, outside the checkout, set up as docs/library.md says. */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { writeOwnProgram } from "./own_program.ts";
import { ROOT } from "./snippets.ts";

async function deno(folder: string, env: Record<string, string>, ...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: folder,
    stdin: "null",
    env: { NO_COLOR: "1", INIT_CWD: folder, ...env },
  }).output();
  const decoder = new TextDecoder();
  // A machine that never loaded the packages before says so.
  const said = decoder.decode(stderr).replaceAll(/^Download .*\n/gm, "");
  return { code, stdout: decoder.decode(stdout), stderr: said };
}

Deno.test("a program outside the checkout runs without a warning, with the permissions that it is told of", async () => {
  const folder = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "seed_own_program_" }));
  try {
    writeOwnProgram(folder); // its types: snippets_test.ts

    // Without any permission it says all that it needs, in one line.
    const refused = await deno(folder, {}, "run", "--no-prompt", "program.ts");
    assertEquals(refused.stderr, "");
    assertMatch(refused.stdout, /^UserError Requires .*; with these options, the run needs: deno run .*\n$/);
    const [, flags] = /deno run (.*)\n/.exec(refused.stdout)!;

    const audit = join(folder, "audit.jsonl");
    const run = await deno(
      folder,
      { DENO_AUDIT_PERMISSIONS: audit },
      "run",
      "--no-prompt",
      ...flags.split(" "),
      "program.ts",
    );
    assertEquals(run, { code: 0, stdout: "1\n2\n2\n", stderr: "" });

    // The plugin works the same from the command line, where the checkout's import map holds.
    const [checkpoint] = [...Deno.readDirSync(join(folder, "run"))].filter(({ name }) =>
      name.endsWith(".tar")
    );
    const inspect = join(ROOT, "cli/commands/inspect.ts");
    const path = join("run", checkpoint.name);
    const inspected = await deno(
      folder,
      {},
      "run",
      "-A",
      inspect,
      "--plugin",
      "mine.ts",
      "--no-tensors",
      path,
    );
    assertEquals(inspected.stderr, "");
    assertMatch(inspected.stdout, /encoder +student: mine/);

    Deno.writeTextFileSync(
      join(folder, "short.ts"),
      'import { z } from "my-short-name";\nconsole.log(z);\n',
    );
    const short = await deno(folder, {}, "run", "-A", inspect, "--plugin", "short.ts", path);
    assertEquals(short.code, 1);
    assertMatch(
      short.stderr,
      /"my-short-name" not a dependency .*; import "@seed\/distillation\/parts", and/,
    );
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

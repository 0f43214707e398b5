// `.ci/run` counts what the test runner says; here a launcher that only talks takes the runner's place.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const SCRIPT = fileURLToPath(new URL("../../.ci/run", import.meta.url));

/** Runs `.ci/run` where the tests print `output` and end with `code`, and the Deno command `broken` fails. */
async function runCi(
  output: string,
  code: number,
  broken = "nothing",
): Promise<{ code: number; lines: string[] }> {
  const folder = await Deno.makeTempDir({ prefix: "seed-ci-" });
  try {
    await Deno.mkdir(join(folder, ".ci"));
    await Deno.copyFile(SCRIPT, join(folder, ".ci", "run"));
    await Deno.writeTextFile(join(folder, "output"), output);
    const deno = join(folder, "deno");
    await Deno.writeTextFile(deno, `#!/bin/sh\n[ "$1" != ${broken} ]\n`, { mode: 0o755 });
    await Deno.writeTextFile(
      join(folder, "seed"),
      `#!/bin/sh\ncase $1 in --deno) echo "${deno}" ;; test) cat "${
        join(folder, "output")
      }"; exit ${code} ;; esac\n`,
      { mode: 0o755 },
    );
    const { code: status, stdout } = await new Deno.Command("bash", { args: [".ci/run"], cwd: folder })
      .output();
    return { code: status, lines: new TextDecoder().decode(stdout).trimEnd().split("\n") };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const options = { ignore: Deno.build.os === "windows" };

Deno.test(".ci/run closes with the runner's counts", options, async () => {
  const cases: [output: string, code: number, last: string, status: number][] = [
    ["one ... ok\n\nok | 12 passed | 0 failed (2s)\n", 0, "12 passed, 0 failed", 0],
    [
      "ok | 12 passed (4 steps) | 0 failed | 3 ignored (1 step) | 2 filtered out (2s)\n",
      0,
      "12 passed, 0 failed, 3 skipped",
      0,
    ],
    [
      "FAILED | 10 passed | 2 failed (7 steps) | 1 ignored (2s)\nerror: Test failed\n",
      1,
      "10 passed, 2 failed, 1 skipped",
      1,
    ],
    ["ok | 1 passed | 0 failed (1s)\nok | 2 passed | 0 failed (1s)\n", 0, "3 passed, 0 failed", 0],
    [
      // One is ignored, and one that passed had nothing to look at.
      "ok | 12 passed | 0 failed | 1 ignored (2s)\n\n2 skipped: a (it is long), b (there is no c)\n",
      0,
      "11 passed, 0 failed, 2 skipped",
      0,
    ],
  ];
  for (const [output, code, last, status] of cases) {
    const run = await runCi(output, code);
    assertEquals([run.lines.at(-1), run.code], [last, status]);
    assertStringIncludes(run.lines.join("\n"), output.trim());
    const [skipped] = /^\d+ skipped: .*$/m.exec(output) ?? [];
    if (skipped !== undefined) assertEquals(run.lines.at(-2), skipped, "their names stand before the counts");
  }
});

Deno.test(".ci/run fails when the runner breaks off, or runs nothing", options, async () => {
  const broken = await runCi("error: Segmentation fault\n", 139);
  assertEquals([broken.lines.at(-1), broken.code], ["0 passed, 1 failed", 1]);
  const cut = await runCi("ok | 5 passed | 0 failed (1s)\n", 1);
  assertEquals([cut.lines.at(-1), cut.code], ["5 passed, 1 failed", 1]);
  const empty = await runCi("ok | 0 passed | 0 failed (1s)\n", 0);
  assertEquals([empty.lines.at(-1), empty.code], ["0 passed, 0 failed", 1]);
});

Deno.test(".ci/run fails when a check fails, and still runs the tests", options, async () => {
  for (const check of ["fmt", "lint", "check", "doc"]) {
    const { code, lines } = await runCi("ok | 5 passed | 0 failed (1s)\n", 0, check);
    assertEquals([lines.at(-1), code], ["5 passed, 0 failed", 1], check);
    assertEquals(lines.at(-2)?.startsWith("FAILED: "), true, check);
  }
});

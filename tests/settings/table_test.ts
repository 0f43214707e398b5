// The table of settings names every flag of its tasks, and tests that are there.
import { assert, assertEquals } from "@std/assert";
import { fileURLToPath, pathToFileURL } from "node:url";
import { join } from "node:path";
import { ENCODERS, teacherNames } from "../../models/registry.ts";
import { SETTINGS } from "./table.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const CONTEXT = { encoders: ENCODERS.map(({ name }) => name), teachers: teacherNames(), folder: "/" };

/** The long names of a task's flags, the first of each, as its help has them. */
async function flagsOf(task: string): Promise<string[]> {
  const module = await import(pathToFileURL(join(ROOT, "cli/flags", `${task}_flags.ts`)).href);
  const [parse] = Object.keys(module).filter((key) => /^parse\w+Flags$/.test(key));
  const { help } = module[parse](["--help=all"], CONTEXT) as { help: string };
  return [...help.matchAll(/^ {2}(?:-\w, | {4})--(?:\[no-\])?([a-z][\w-]*)/gm)].map(([, name]) => name)
    .filter((name) => name !== "help");
}

for (const [task, rows] of Object.entries(SETTINGS)) {
  Deno.test(`every flag of ${task} has a row in the table of settings, and every row a flag`, async () => {
    const flags = await flagsOf(task);
    assert(flags.length > 5);
    assertEquals(Object.keys(rows).toSorted(), flags.toSorted());
  });

  Deno.test(`the tests that the table of settings names for ${task} are there`, () => {
    for (const [flag, row] of Object.entries(rows)) {
      if (row.startsWith("- ")) continue;
      const [, file, name] = /^(\S+_test\.ts): (.*)$/.exec(row) ?? [];
      assert(file !== undefined, `${flag}: ${row}`);
      const text = Deno.readTextFileSync(join(ROOT, "tests", file));
      assert(text.includes("test") && text.includes(name), `${flag}: ${file} has no test "${name}"`);
    }
  });
}

// The mutants are made by `deno task test:mutants`, which takes long; here only whether they can still be made.
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MUTANTS } from "./mutants.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

Deno.test("every mutant's text stands exactly once in its file, and its tests are there", () => {
  for (const { file, from, to, tests } of MUTANTS) {
    const found = Deno.readTextFileSync(join(ROOT, file)).split(from).length - 1;
    assertEquals(found, 1, `${file}: ${JSON.stringify(from)} stands there ${found} times`);
    assert(from !== to, `${file}: ${JSON.stringify(from)} would stay the same`);
    assert(tests.length > 0, `${file}: ${JSON.stringify(from)} has no test`);
    for (const test of tests) assert(Deno.statSync(join(ROOT, "tests", test)).isFile, test);
  }
});

Deno.test("there are mutants of actors, methods, models, data, kernels, cli and ui, and no two are the same", () => {
  assert(MUTANTS.length >= 60);
  const names = MUTANTS.map(({ file, from, to }) => JSON.stringify([file, from, to]));
  assertEquals(new Set(names).size, names.length);
  assertEquals(
    new Set(MUTANTS.map(({ file }) => file.split("/")[0])),
    new Set(["actors", "methods", "models", "data", "kernels", "cli", "ui"]),
  );
});

// The mutants are made by `deno task test:mutants`, which takes long; here only whether they can still be made.
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../../errors.ts";
import { parseMutantsFlags } from "./main.ts";
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

Deno.test("parseMutantsFlags() refuses what it does not know, before any mutant is made", () => {
  const refused = (args: string[], text: string) =>
    assertThrows(() => parseMutantsFlags(args), UserError, text);
  refused(["--filters", "x"], "--filters: unknown");
  refused(["actors"], "actors: unknown");
  refused(["--limit", "many"], "--limit: expected a whole number from 1, found many");
  refused(["--filter"], "--filter: expected a text, found nothing");
  const expected = { filter: "seed", limit: 3, again: true, list: false };
  assertEquals(parseMutantsFlags(["--filter", "seed", "--limit", "3", "--again"]), expected);
});

// As `deno task` calls them.
for (const [name, ...args] of [["mutants/main"], ["main", "--quiet", "-A", "tests/"]]) {
  Deno.test(`tests/${name}.ts --help runs no test`, async () => {
    const program = join(ROOT, "tests", `${name}.ts`);
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "-A", "--no-check", program, ...args, "--help"],
    }).output();
    const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    assertEquals([code, err], [0, ""]);
    assertMatch(out, /^Usage: deno task test/);
  });
}

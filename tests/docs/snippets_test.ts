/**
 * The programs in the documentation run, where they need no data of one's own. `.ci/run` checks the types of all, with those of the
 * project, and the long test checks them as outside of the checkout.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { IS_LONG } from "../long.ts";
import { LIBRARY_ON_ONE_THREAD } from "../one_thread.ts";
import { writeOwnProgram } from "./own_program.ts";
import { deno, ROOT, writeAllSnippets } from "./snippets.ts";

const FLAGS = ["--quiet", "-A", "--no-check", "--config", "deno.json", ...LIBRARY_ON_ONE_THREAD];
const RUN = ["run", ...FLAGS];

/** Checks types of all programs at once, with the configuration that docs/library.md shows, and a name more. */
async function check(snippets: readonly string[]) {
  const own = Deno.makeTempDirSync({ prefix: "seed_own_program_" });
  try {
    writeOwnProgram(own);
    const config = join(own, "deno.json");
    const { imports, ...others } = JSON.parse(Deno.readTextFileSync(config));
    imports["@std/assert"] = join(ROOT, "links/std-assert/mod.ts");
    Deno.writeTextFileSync(config, JSON.stringify({ ...others, imports }));
    const programs = ["program.ts", "mine.ts"].map((name) => join(own, name));
    assertEquals(await deno("check", "--quiet", "--config", config, ...programs, ...snippets), "");
  } finally {
    Deno.removeSync(own, { recursive: true });
  }
}

Deno.test("the programs in README.md and docs/ compile, and do what they say", async (t) => {
  const folder = Deno.makeTempDirSync({ prefix: "seed_snippets_" });
  try {
    const snippets = writeAllSnippets(folder);
    await t.step({
      name: "they compile outside of the checkout",
      ignore: !IS_LONG,
      fn: () => check(snippets),
    });

    await t.step("docs/library.md: an actor runs alone", async () => {
      const alone = snippets.find((path) => Deno.readTextFileSync(path).includes('"tsv_reader", {'))!;
      assertEquals(await deno(...RUN, alone), "0 100\n1 100\n2 100\n{ images: 300 }\n");
    });

    await t.step(
      "docs/extending.md: the tests of its optimizer, op, encoder, augmentation and actor pass",
      async () => {
        const tests = snippets.filter((path) => path.endsWith("_test.ts"));
        assertEquals(tests.length, 5);
        const all = join(folder, "all_tests.ts");
        Deno.writeTextFileSync(all, tests.map((path) => `import ${JSON.stringify(path)};\n`).join(""));
        const text = await deno("test", ...FLAGS, all);
        assertMatch(text, /\bok \| 8 passed /);
      },
    );

    await t.step("docs/extending.md: its actor finds the image that is there twice", async () => {
      const rows = Deno.readTextFileSync(join(ROOT, "data/sample/test.tsv")).split("\n").slice(0, 40);
      const data = join(folder, "images.tsv");
      Deno.writeTextFileSync(data, [...rows, rows[6], ""].join("\n"));
      const text = await deno(...RUN, join(folder, "find_duplicates.ts"), data, "0.999");
      assertEquals(text, "lines 7 and 41: 1.0000\n");
    });

    await t.step("docs/extending.md: its encoder from outside is distilled into, by its loss", async () => {
      const text = await deno(
        ...RUN,
        join(folder, "distil_by_negative_cosine.ts"),
        join(folder, "plain_net"),
      );
      assertMatch(text, /^1 -?\d\.\d{3}\n2 .*\n3 .*\n4 .*\n5 -?\d\.\d{3}\n$/);
    });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

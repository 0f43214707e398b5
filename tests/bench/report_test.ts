/** `bench/RESULTS.md`. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { composeDocument, DOCUMENT, tableOf } from "../../bench/report.ts";

Deno.test("bench/RESULTS.md is what bench/results and bench/NOTES.md say: ./seed bench --rewrite", async () => {
  assertEquals(await Deno.readTextFile(DOCUMENT), await composeDocument());
});

Deno.test("bench/NOTES.md has the shares of the ceiling that products reach as they were measured", async () => {
  const notes = (await Deno.readTextFile(new URL("../../bench/NOTES.md", import.meta.url)))
    .replace(/\s+/g, " ");
  for (
    const [processor, words, fact] of [
      ["avx-512", "**Matrix products** reach", "of these"],
      ["avx2", "With AVX2 they reach", "of the most"],
    ]
  ) {
    const file = `../../bench/results/llvmpipe-llvm-15-0-6-256-bits-${processor}/product.json`;
    const { rows } = JSON.parse(await Deno.readTextFile(new URL(file, import.meta.url)));
    const shares = rows.map((row: { name: string; facts: Record<string, string> }) =>
      `${row.facts[fact]} at ${row.name}`
    );
    assertStringIncludes(notes, `${words} ${shares.join(" and ")}`);
  }
});

Deno.test("tableOf()'s means are without rows in which others do other work", () => {
  const time = (median: number) => ({ median, min: median, max: median });
  const row = (name: string, other: number) => ({ name, timings: { ours: time(1), other: time(other) } });
  const rows = [row("a", 2), row("b", 8), { ...row("c", 1000), differs: true }];
  const table = tableOf({ name: "augmentation", title: "", about: "", rows });
  assertEquals(table.map((cells) => cells.at(-1)), [
    "ours / other",
    "2.0x (2.0 to 2.0)",
    "8.0x (8.0 to 8.0)",
    "1000x (1000 to 1000)",
    "4.0x",
  ]);
});

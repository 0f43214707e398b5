/** `bench/RESULTS.md`. */
import { assertEquals } from "@std/assert";
import { composeDocument, DOCUMENT, tableOf } from "../../bench/report.ts";

Deno.test("bench/RESULTS.md is what bench/results and bench/NOTES.md say: ./seed bench --rewrite", async () => {
  assertEquals(await Deno.readTextFile(DOCUMENT), await composeDocument());
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

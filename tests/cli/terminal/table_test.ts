import { assertEquals, assertLessOrEqual } from "@std/assert";
import { formatTable, formatWideTable } from "../../../cli/terminal/table.ts";

Deno.test("formatTable() aligns text to the left and numbers to the right", () => {
  const text = formatTable([["encoder", "top-1"], ["teacher", "39.6 %"], ["student, before", "9.1 %"]]);
  assertEquals(
    text,
    `encoder           top-1
-----------------------
teacher          39.6 %
student, before   9.1 %`,
  );
});

Deno.test("formatTable() fills rows that are short", () => {
  assertEquals(formatTable([["a", "b"], ["c"]]), "a  b\n----\nc");
  assertEquals(formatTable([]), "");
});

Deno.test("formatWideTable() puts columns that have no room below, and cuts long cells in the middle", () => {
  const name = "a-run-with-a-name-that-nobody-would-type-by-hand";
  const rows = [["", "one", name, "three"], ["loss", "1.5", "2.25", "3.125"]];
  assertEquals(formatWideTable(rows, 80).split("\n"), [
    "      one  a-run-with-a-…d-type-by-hand  three",
    "-".repeat(46),
    "loss  1.5                          2.25  3.125",
  ]);
  const narrow = formatWideTable(rows, 36).split("\n");
  assertEquals(narrow.filter((line) => line.startsWith("loss")), [
    "loss  1.5                  2.25",
    "loss  3.125",
  ]);
  for (const line of narrow) assertLessOrEqual(line.length, 36);
  assertEquals(formatWideTable(rows, 5).split("\n\n").length, 3);
  assertEquals(formatWideTable([], 80), "");
});

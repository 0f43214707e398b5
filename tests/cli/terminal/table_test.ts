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

Deno.test("formatWideTable() keeps different cells different", () => {
  const cells = (...names: string[]) =>
    formatWideTable([["", ...names]], 200).split("\n")[0].trim().split(/ {2,}/);
  const run = (lr: string, seed: number, data = "imagenet100") =>
    `distill_resnet18_lr${lr}_${data}_seed${seed}`;
  const most = 28;
  const shown = cells(run("0.03", 0), run("0.10", 0), "a");
  assertEquals(shown, ["…et18_lr0.03_imagenet100_se…", "…et18_lr0.10_imagenet100_se…", "a"]);
  for (const cell of shown) assertLessOrEqual(cell.length, most);
  // Where the difference is near an end, nothing is left out there.
  const ends = ["a", "b"].map((middle) => `${"x".repeat(24)}${middle}${"y".repeat(16)}`);
  assertEquals(cells(...ends), ends.map((end) => `…${end.slice(-most + 1)}`));
  const starts = [
    ...["a", "b"].map((middle) => `${"x".repeat(14)}${middle}${"y".repeat(20)}`),
    "z".repeat(40),
  ];
  assertEquals(cells(...starts), starts.map((start) => `${start.slice(0, most - 1)}…`));
  // Such as differ in two places far from each other stay whole.
  const far = ["0.03", "0.10"].flatMap((lr) => [0, 1].map((seed) => run(lr, seed, "a_long_name_of_images")));
  assertEquals(new Set(formatWideTable([["", ...far]], 80).match(/distill\S+/g)), new Set(far));
  assertEquals(cells(run("0.03", 0), run("0.03", 0)).length, 2);
});

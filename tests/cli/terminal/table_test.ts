import { assertEquals } from "@std/assert";
import { formatTable } from "../../../cli/terminal/table.ts";

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

import { assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { readLinesSync } from "../../data/read_lines.ts";
import { TestFolder } from "./folder.ts";

Deno.test("readLinesSync() gives each line as it is, however little is read at once", () => {
  using folder = new TestFolder();
  const path = join(folder.path, "a.txt");
  for (const text of ["", "\n", "one\n\nzwölf 🦕\r\n", "\ufeffone\nhalf 🦕"]) {
    Deno.writeTextFileSync(path, text);
    const expected = text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
    for (const bytes of [1, 2, 5, 100]) assertEquals([...readLinesSync(path, bytes)], expected, `${bytes}`);
  }
  assertThrows(() => [...readLinesSync(join(folder.path, "none"))], Deno.errors.NotFound);
});

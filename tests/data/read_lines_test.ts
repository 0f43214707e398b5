import { assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { readLastLinesSync, readLinesSync } from "../../data/read_lines.ts";
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

Deno.test("readLastLinesSync() gives whole lines, the newest first, of the end of a file", () => {
  using folder = new TestFolder();
  const of = (text: string, most?: number) => readLastLinesSync(folder.write("lines.txt", text), most);
  assertEquals(of(""), []);
  assertEquals(of("half"), []);
  assertEquals(of("ä\nb\n"), ["b", "ä"]);
  assertEquals(of("a\nb\nhalf"), ["b", "a"]);
  assertEquals(of("first\nsecond\nthird\n", 13), ["third"], "the second is cut off");
  assertEquals(of("first\nsecond\nthird\n", 14), ["third", "second"]);
  assertEquals(of("first\nsecond\nthird\n", 3), []);
  assertEquals(of("first\nsecond\nthird\n", 19), ["third", "second", "first"]);
});

import { assertEquals } from "@std/assert";
import { printable, printableLine } from "../../data/printable.ts";

Deno.test("printable() writes control characters out, but for line feeds and tabs", () => {
  assertEquals(
    printable("a\x1b[2Jb\x07\x7f\x9b\u202e\n\tc\r"),
    "a\\u001b[2Jb\\u0007\\u007f\\u009b\\u202e\n\tc\\r",
  );
  for (const code of [0x61c, 0x200e, 0x200f, 0x202a, 0x2066, 0x2069]) {
    assertEquals(printable(String.fromCharCode(code)), `\\u${code.toString(16).padStart(4, "0")}`);
  }
  assertEquals(printable("München, 猫 and 🐈"), "München, 猫 and 🐈");
});

Deno.test("printableLine() is one line, whatever the text is", () => {
  assertEquals(printableLine("two\nlines\tand\ra\u2028half"), "two\\nlines\\tand\\ra\\u2028half");
});

Deno.test("printableLine() cuts what is longer than it is told", () => {
  assertEquals([printableLine("a\n", 2), printableLine("a\nb", 2)], ["a\\n", "a\\n..."]);
});

Deno.test("printable() leaves JSON what it was", () => {
  const value = { "a\x7fb\x85": "c\x1b\u202e\n" };
  assertEquals(JSON.parse(printable(JSON.stringify(value))), value);
});

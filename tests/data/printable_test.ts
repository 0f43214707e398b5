import { assertEquals } from "@std/assert";
import { printable, printableLine } from "../../data/printable.ts";

Deno.test("printable() writes control characters out, but for line feeds and tabs", () => {
  assertEquals(
    printable("a\x1b[2Jb\x07\x7f\x9b\u202e\n\tc\r"),
    "a\\u001b[2Jb\\u0007\\u007f\\u009b\\u202e\n\tc\\r",
  );
  assertEquals(printable("München, 猫 and 🐈"), "München, 猫 and 🐈");
});

Deno.test("printableLine() is one line, whatever the text is", () => {
  assertEquals(printableLine("two\nlines\tand\ra\u2028half"), "two\\nlines\\tand\\ra\\u2028half");
});

Deno.test("printable() leaves JSON what it was", () => {
  const value = { "a\x7fb\x85": "c\x1b\u202e\n" };
  assertEquals(JSON.parse(printable(JSON.stringify(value))), value);
});

import { assertEquals, assertLessOrEqual } from "@std/assert";
import { formatHelp, wrap } from "../../../cli/flags/help.ts";

Deno.test("formatHelp() groups flags, and shows their names, values and defaults", () => {
  const text = formatHelp({
    usage: "deno task paint [flags]",
    intro: ["Paints."],
    table: {
      size: { kind: "integer", short: "s", group: "Brush", help: "its width" },
      dry: { kind: "boolean", group: "Other", help: "paint nothing" },
      colour: {
        kind: "choice",
        values: ["red", "blue"],
        aliases: ["color"],
        group: "Brush",
        help: "what it paints",
      },
    },
    defaults: { size: "default: 3" },
    notes: ["That is all."],
  });
  assertEquals(
    text,
    `Usage: deno task paint [flags]

Paints.

Brush:
  -s, --size N                  its width [default: 3]
      --colour, --color NAME    what it paints: red, blue

Other:
      --[no-]dry                paint nothing

That is all.
`.trimEnd(),
  );
});

Deno.test("wrap() breaks at blanks and leaves long words whole", () => {
  assertEquals(wrap("one two three", 7), ["one two", "three"]);
  assertEquals(wrap("a incomprehensibilities b", 5), ["a", "incomprehensibilities", "b"]);
  for (const line of wrap("the quick brown fox jumps over the lazy dog", 12)) {
    assertLessOrEqual(line.length, 12);
  }
});

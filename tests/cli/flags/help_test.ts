import { assert, assertEquals, assertLessOrEqual, assertStringIncludes } from "@std/assert";
import { embedHelp } from "../../../cli/flags/embed_flags.ts";
import { formatHelp, wrap } from "../../../cli/flags/help.ts";
import { inspectHelp } from "../../../cli/flags/inspect_flags.ts";
import { linclsHelp } from "../../../cli/flags/lincls_flags.ts";
import { pretrainHelp } from "../../../cli/flags/pretrain_flags.ts";

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

Deno.test("the help of each task is about what this task does", () => {
  const context = { encoders: ["resnet18"], extent: "all" } as const;
  const helps = [embedHelp(context), inspectHelp(), linclsHelp(context), pretrainHelp(context)];
  const [embed, , lincls] = helps.map((help) => help.replaceAll(/\s+/g, " "));
  assertStringIncludes(embed, "the names of features.npy go to features.names.csv");
  assertEquals(helps[1].match(/^\S.*:$/gm), ["What to list:", "Output:"]);
  // Its default with AdamW is beside it.
  assert(!lincls.includes("weight decay of SGD"), lincls);
  // There are flags for losses and augmentations in a distillation alone.
  for (const help of helps) assert(!help.includes("registers encoders, losses"));
});

// Apart: compares the registry of encoders with what is printed and documented.
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UsageError } from "../../../cli/flags/flags.ts";
import { listEncoders, markdownTable } from "../../../cli/terminal/encoder_table.ts";
import { modelsOutput } from "../../../cli/commands/models.ts";
import { listedEncoders } from "../../../models/registry.ts";

/** Tables are aligned by the formatter: blanks and dashes are no difference. */
const plain = (table: string) => table.replace(/ +/g, " ").replace(/-+/g, "-");

Deno.test("deno task models lists every encoder of the registry", () => {
  const lines = modelsOutput([]).split("\n");
  assertEquals(lines.slice(2).map((line) => line.split(" ")[0]), listedEncoders().map(({ name }) => name));
  const rows: { name: string; parameters: number }[] = JSON.parse(modelsOutput(["--json"]));
  assertEquals(rows.map(({ name }) => name), listedEncoders().map(({ name }) => name));
  assert(rows.every(({ parameters }) => parameters > 1e6));
});

Deno.test("deno task models explains itself and refuses what it does not know", () => {
  assertStringIncludes(modelsOutput(["--help"]), "--markdown");
  for (const args of [["--jsn"], ["--json", "--markdown"], ["resnet18"]]) {
    assertThrows(() => modelsOutput(args), UsageError, args.join(" "));
  }
});

Deno.test("the table of encoders in docs/encoders.md is the registry's", async () => {
  const page = await Deno.readTextFile(new URL("../../../docs/encoders.md", import.meta.url));
  assertStringIncludes(plain(page), plain(markdownTable(listEncoders())));
});

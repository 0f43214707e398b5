/** `deno task bench`: what its flags say. */
import { assertEquals, assertThrows } from "@std/assert";
import { parseBenchFlags } from "../../bench/bench_flags.ts";
import { UserError } from "../../errors.ts";

Deno.test("parseBenchFlags() takes names of sections, and all without names", () => {
  const { names, rounds, dryRun } = parseBenchFlags(["product", "vit", "--rounds", "2", "--dry-run"]);
  assertEquals([names, rounds, dryRun], [["product", "vit"], 2, true]);
  assertEquals(parseBenchFlags([]).names.length > 10, true);
});

Deno.test("parseBenchFlags() refuses what it does not know, before anything is measured", () => {
  const refused = (args: string[], text: string) =>
    assertThrows(() => parseBenchFlags(args), UserError, text);
  refused(["--dryrun", "product", "--rounds", "1"], "--dryrun: unknown"); // else results would be overwritten
  refused(["--round", "1"], "--round: unknown");
  refused(["products"], 'there is no section "products"');
  refused(["--rounds", "0"], "--rounds: expected a whole number from 1, found 0");
  refused(["--rounds"], "--rounds: expected a whole number from 1, found nothing");
});

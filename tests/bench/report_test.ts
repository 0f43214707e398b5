/** `bench/RESULTS.md`. */
import { assertEquals } from "@std/assert";
import { composeDocument, DOCUMENT } from "../../bench/report.ts";

Deno.test("bench/RESULTS.md is what bench/results and bench/NOTES.md say: ./seed bench --rewrite", async () => {
  assertEquals(await Deno.readTextFile(DOCUMENT), await composeDocument());
});

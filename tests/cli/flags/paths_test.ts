import { assertEquals } from "@std/assert";
import { resolvePath } from "../../../cli/flags/paths.ts";

Deno.test("resolvePath() starts from the folder that the person is in", () => {
  assertEquals(resolvePath("a/../b.tsv", "/home/me"), "/home/me/b.tsv");
  assertEquals(resolvePath("/abs", "/home/me"), "/abs");
  assertEquals(resolvePath("~/x", "/elsewhere"), `${Deno.env.get("HOME")}/x`);
  assertEquals(resolvePath("~x", "/elsewhere"), "/elsewhere/~x");
});

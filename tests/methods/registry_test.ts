import { assert, assertEquals } from "@std/assert";
import { actorUrl } from "../../methods/catalog.ts";
import { METHODS } from "../../methods/registry.ts";

Deno.test("each method is a folder of its name, with the modules of its own actors", () => {
  const found: string[] = [];
  for (const [name, { folder, actors, description }] of Object.entries(METHODS)) {
    assertEquals(new URL(".", folder), new URL(`../../methods/${name}/`, import.meta.url));
    assert(description.length > 0);
    for (const role of actors) {
      found.push(role);
      assert(Deno.statSync(actorUrl(role)).isFile, role);
      assertEquals(actorUrl(role).href, new URL(`${role}.ts`, folder).href);
    }
  }
  assertEquals(new Set(found).size, found.length, "two methods have an actor of one name");
  for (const role of ["tsv_reader", "augmenter", "encoder", "evaluator", "projector"] as const) {
    assert(Deno.statSync(actorUrl(role)).isFile, role);
  }
  assertEquals(actorUrl("encoder", { encoder: "file:///mine.ts" }).href, "file:///mine.ts");
});

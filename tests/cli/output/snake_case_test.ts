import { assertEquals } from "@std/assert";
import { withSnakeCase } from "../../../cli/output/snake_case.ts";

Deno.test("withSnakeCase() renames fields, and no groups of layers", () => {
  const norms = { Mixed_5b: 1, fc: 2 };
  assertEquals(
    withSnakeCase({ type: "stats", batchSize: 4, ranks: [{ hostName: "a" }], gradientNorms: norms }),
    {
      type: "stats",
      batch_size: 4,
      ranks: [{ host_name: "a" }],
      gradient_norms: norms,
    },
  );
});

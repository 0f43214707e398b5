import { assertEquals } from "@std/assert";
import type { Encoder } from "../../models/encoder.ts";
import { partsOf } from "../../models/encoder_parts.ts";
import { findEncoder } from "../../models/registry.ts";

Deno.test("partsOf() traces an encoder once for each head, and keeps the heads apart", () => {
  const resnet = findEncoder("resnet18");
  let traced = 0;
  const counting: Encoder = {
    ...resnet,
    trace(...args) {
      traced++;
      return resnet.trace(...args);
    },
  };
  const shapesOf = (head: Parameters<typeof partsOf>[1]) =>
    partsOf(counting, head).encoder.filter(({ key }) => key.startsWith("fc.")).map(({ shape }) => shape);
  for (let i = 0; i < 2; i++) {
    assertEquals(shapesOf({ kind: "linear", dimension: 128 }), [[128, 512], [128]]);
    assertEquals(shapesOf({ kind: "linear", dimension: 20 }), [[20, 512], [20]]);
    assertEquals(shapesOf({ kind: "mlp", dimension: 20 })[0], [512, 512]);
    assertEquals(shapesOf({ kind: "mlp", dimension: 20, hidden: 64 })[0], [64, 512]);
  }
  assertEquals(traced, 4);
});

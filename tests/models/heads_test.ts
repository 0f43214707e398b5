import { assertEquals } from "@std/assert";
import { findHead, type HeadOptions } from "../../models/heads.ts";
import { ENCODERS, summarize, usualHead } from "../../models/registry.ts";

const shapesOf = (state: readonly { key: string; shape: readonly number[] }[]) =>
  new Map(state.map(({ key, shape }) => [key.replace(/^module\./, ""), { shape }]));

Deno.test("findHead() finds the head of every encoder, of whatever kind it is", () => {
  for (const encoder of ENCODERS) {
    const heads: HeadOptions[] = [
      usualHead(encoder, 60),
      { kind: "linear", dimension: 7 },
      { kind: "mlp", dimension: 128, hidden: 33 },
      { kind: "mlp_bn", dimension: 1, hidden: 2 },
    ];
    for (const head of heads) {
      const found = findHead(shapesOf(summarize(encoder, head, 64).state))!;
      assertEquals(found.root, encoder.ssl === "swav" ? "projection_head" : "fc");
      assertEquals([found.kind, found.dimension], [head.kind, head.dimension], encoder.name);
      if (head.hidden !== undefined) assertEquals(found.hidden, head.hidden);
    }
  }
});

Deno.test("findHead() finds none in a backbone, and none of a kind that it does not know", () => {
  const tensors = (...keys: string[]) => new Map(keys.map((key) => [key, { shape: [3, 4] }]));
  assertEquals(findHead(tensors("conv1.weight", "bn1.running_mean")), undefined);
  assertEquals(findHead(tensors("fc.0.weight", "fc.1.weight", "fc.5.weight")), undefined);
  assertEquals(findHead(tensors("fc.bias")), undefined);
});

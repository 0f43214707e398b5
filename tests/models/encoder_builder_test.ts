import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../errors.ts";
import { Graph } from "../../kernels/graph.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";

Deno.test("two layers of one encoder have two keys, and traces that share parameters have the same ones", () => {
  const graph = new Graph();
  const first = new EncoderBuilder(graph, "train");
  first.linear("fc", 4, 8);
  const { message } = assertThrows(() => first.linear("fc", 8, 4), UserError);
  assertEquals(
    message,
    'two layers have the key "fc.weight": a checkpoint can hold one of them; give each layer a key of its own',
  );
  const second = new EncoderBuilder(graph, "train", { share: first });
  second.linear("fc", 4, 8);
  assertEquals(second.state, first.state);
});

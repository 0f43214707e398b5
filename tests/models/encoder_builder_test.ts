import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../errors.ts";
import { Graph, type Tensor } from "../../kernels/graph.ts";
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

for (const mode of ["train", "eval"] as const) {
  Deno.test(`layers refuse channels that they were not declared for, in ${mode} mode`, () => {
    const refuse = (trace: (builder: EncoderBuilder, x: Tensor) => void, message: string) => {
      const graph = new Graph();
      const x = graph.source("x", [2, 4, 4, 4]);
      assertThrows(() => trace(new EncoderBuilder(graph, mode), x), UserError, message);
    };
    refuse(
      (b, x) => b.convolve(x, b.convolution("c", { inputs: 1, outputs: 4, kernel: 1 })),
      "c: expected 1 channels, as the layer was declared with, found [2,4,4,4]",
    );
    refuse((b, x) => b.convolve(x, b.linear("l", 2, 4)), "l: expected 2 channels");
    refuse(
      (b, x) =>
        b.convolveAndNormalize(
          x,
          b.convolution("c", { inputs: 4, outputs: 16, kernel: 1 }),
          b.batchNorm("n", 8),
        ),
      "n: expected the 16 channels that c gives, found 8",
    );
    const residual = "what is added to l: expected the 8 channels that l gives, found 4";
    refuse((b, x) => b.convolveAndAdd(x, b.linear("l", 4, 8), x), residual);
    refuse(
      (b, x) => b.convolveAndAdd(x, b.linear("l", 4, 4), x, { scale: b.layerScale("g", 8, 1) }),
      "g: expected the 4 channels that l gives, found 8",
    );
  });
}

import { assertEquals, assertLess, assertThrows } from "@std/assert";
import { UserError } from "../../errors.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { Graph, type Tensor } from "../../kernels/graph.ts";
import { activate } from "../../kernels/ops/activation/activation.ts";
import { add } from "../../kernels/ops/add/add.ts";
import { Program } from "../../kernels/program.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import type { EncoderMode } from "../../models/encoder_layers.ts";
import { ParameterStore } from "../../models/parameter_store.ts";
import { randomValues, relativeError, withGpu } from "../kernels/check_op.ts";
import { formulaReader } from "./reference_encoder.ts";

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

/** The output of some layers for an image [2, 4, 4, 8], with the formula's weights. */
async function outputOf(
  gpu: Gpu,
  mode: EncoderMode,
  trace: (builder: EncoderBuilder, x: Tensor) => Tensor,
): Promise<Float32Array> {
  const graph = new Graph();
  const x = graph.source("x", [2, 4, 4, 8]);
  const b = new EncoderBuilder(graph, mode);
  const y = trace(b, x);
  using store = new ParameterStore(gpu, b.parameters);
  await store.load(formulaReader(b.state));
  using program = await Program.compile(gpu, {
    ...{ label: "test", graph, inputs: [x], outputs: [y], bound: store.bindings() },
  });
  program.write(x, randomValues("x", x.shape));
  program.run();
  return await program.read(y);
}

Deno.test("a residual is added to a depthwise convolution in eval mode, as in train mode", () =>
  withGpu(async (gpu) => {
    const layer = (b: EncoderBuilder) =>
      b.convolution("c", { inputs: 8, outputs: 8, kernel: 3, padding: 1, bias: true, depthwise: true });
    const added = (mode: EncoderMode) =>
      outputOf(gpu, mode, (b, x) => b.convolveAndAdd(x, layer(b), x, { scale: b.layerScale("g", 8, 1) }));
    assertLess(relativeError(await added("eval"), await added("train")), 1e-6);

    // Batch norm has other statistics in training.
    const norm = (b: EncoderBuilder) => b.batchNorm("n", 8);
    const together = await outputOf(
      gpu,
      "eval",
      (b, x) => b.convolveAndNormalize(x, layer(b), norm(b), { residual: x, activation: "relu" }),
    );
    const apart = await outputOf(gpu, "eval", (b, x) => {
      const sum = b.graph.apply(add, [b.convolveAndNormalize(x, layer(b), norm(b)), x], {});
      return b.graph.apply(activate, [sum], { activation: "relu" });
    });
    assertEquals(together, apart);
  }));

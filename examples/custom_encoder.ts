/**
 * An encoder and a loss of one's own. This module is both: the plugin that registers them, which every Worker imports, and
 * the program that distils the bundled teacher into that encoder.
 *
 *     deno run -A examples/custom_encoder.ts OUTPUT
 */
import {
  globalAveragePool,
  projectionHead,
  registerEncoder,
  registerLoss,
  seedLoss,
} from "@seed/distillation/parts";

const FEATURES = 64;

// Four convolutions with batch norm and ReLU, each but the first halving the image. The keys are those of its checkpoints.
registerEncoder({
  name: "tiny_convnet",
  family: "example",
  roles: ["student"],
  ssl: "moco",
  head: "mlp",
  features: FEATURES,
  trace(builder, images, head) {
    let x = images;
    for (const [i, outputs] of [16, 32, 48, FEATURES].entries()) {
      const key = `layer${i + 1}`;
      const shape = { inputs: x.shape[3], outputs, kernel: 3, stride: i === 0 ? 1 : 2, padding: 1 };
      const convolution = builder.convolution(`${key}.conv`, shape);
      const norm = builder.batchNorm(`${key}.bn`, outputs);
      x = builder.convolveAndNormalize(x, convolution, norm, { activation: "relu" });
    }
    const feature = builder.graph.apply(globalAveragePool, [x], {});
    return { feature, embedding: projectionHead(builder, "fc", FEATURES, head)(feature) };
  },
});

// SEED's loss with a teacher that is less sure of itself.
registerLoss("soft_seed", (graph, inputs) => seedLoss(graph, { ...inputs, teacherTemperature: 0.05 }), {
  ignores: ["teacherTemperature"],
});

if (import.meta.main) {
  // Not needed by the Workers, which load this file too.
  const { distill, sampleOptions } = await import("@seed/distillation");
  const [output = "output/custom_encoder"] = Deno.args;
  const options = sampleOptions({
    output,
    plugins: [import.meta.url],
    studentArch: "tiny_convnet",
    loss: "soft_seed",
    testData: null, // no kNN
    insight: false, // nobody looks on
    epochs: 1,
    limitSteps: 20,
  });
  await using run = distill(options);
  for await (const event of run) {
    if (event.type === "step" && event.step % 10 === 0) console.log(event.step, event.loss.toFixed(3));
  }
  console.log((await run.result).checkpoint);
}

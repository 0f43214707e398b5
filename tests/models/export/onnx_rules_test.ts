import { assertEquals, assertLess } from "@std/assert";
import { activate, type Activation } from "../../../kernels/ops/activation/activation.ts";
import { globalAveragePool } from "../../../kernels/ops/global_average_pool/global_average_pool.ts";
import type { Encoder } from "../../../models/encoder.ts";
import { inputOf } from "../../../models/encoder_input.ts";
import { writeOnnxFile } from "../../../models/export/onnx_file.ts";
import { traceOnnxModel } from "../../../models/export/onnx_model.ts";
import { FrozenEncoder } from "../../../models/inference.ts";
import { summarize } from "../../../models/registry.ts";
import { relativeError, withGpu } from "../../kernels/check_op.ts";
import { ACTIVATION_FUNCTIONS } from "../../kernels/ops/activation_functions.ts";
import { formulaTensor } from "../../reference.ts";
import { withFolder } from "../checkpoint/fixtures.ts";
import { formulaImages, formulaReader } from "../reference_encoder.ts";
import { runOnnx } from "./onnx_runtime.ts";

const HEAD = { kind: "linear", dimension: 5 } as const;
const [BATCH, SIZE] = [2, 6];

/** A convolution with an activation in its epilogue, the same one on its own, and the mean. */
const withActivation = (activation: Activation): Encoder => ({
  name: "activated",
  family: "tests",
  roles: ["student"],
  ssl: "moco",
  head: "linear",
  features: 5,
  trace(b, images) {
    const layer = b.convolution("layer", { inputs: 3, outputs: 5, kernel: 1, bias: true });
    const x = b.graph.apply(activate, [b.convolve(images, layer, { activation })], { activation });
    const feature = b.graph.apply(globalAveragePool, [x], {});
    return { feature, embedding: feature };
  },
});

for (const activation of Object.keys(ACTIVATION_FUNCTIONS) as Activation[]) {
  Deno.test(`onnxruntime computes ${activation} as this program does`, () =>
    withGpu(async (gpu) => {
      const encoder = withActivation(activation);
      const read = formulaReader(summarize(encoder, HEAD, SIZE).state);
      using frozen = await FrozenEncoder.create(gpu, {
        encoder,
        head: HEAD,
        batch: BATCH,
        imageSize: SIZE,
        input: "normalized",
        output: "feature",
      });
      await frozen.load(read);
      const expected = await frozen.embed(formulaImages("images", BATCH, SIZE));
      await withFolder(async (folder) => {
        const path = `${folder}/model.onnx`;
        const input = inputOf(encoder, { imageSize: SIZE, cropRatio: 1 });
        const traced = traceOnnxModel({ encoder, head: HEAD, part: "backbone", normalize: false, input });
        await writeOnnxFile(path, traced, { read: (key) => Promise.resolve(read(key)) });
        const shape = [BATCH, 3, SIZE, SIZE];
        const images = formulaTensor("images", shape, "image");
        const { feature } = await runOnnx(Deno.readFileSync(path), images, shape);
        assertEquals(feature.shape, [BATCH, 5]);
        assertLess(relativeError(feature.data, expected), 1e-6);
      });
    }));
}

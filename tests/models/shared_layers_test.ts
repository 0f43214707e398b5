// A layer that is applied twice, with something else folded into it each time.
import { assertEquals, assertLess, assertNotEquals } from "@std/assert";
import { globalAveragePool } from "../../kernels/ops/global_average_pool/global_average_pool.ts";
import type { Encoder } from "../../models/encoder.ts";
import { inputOf } from "../../models/encoder_input.ts";
import { writeOnnxFile } from "../../models/export/onnx_file.ts";
import { traceOnnxModel } from "../../models/export/onnx_model.ts";
import { FrozenEncoder } from "../../models/inference.ts";
import { summarize } from "../../models/registry.ts";
import { relativeError, withGpu } from "../kernels/check_op.ts";
import { formulaTensor } from "../reference.ts";
import { withFolder } from "./checkpoint/fixtures.ts";
import { runOnnx } from "./export/onnx_runtime.ts";
import { formulaImages, formulaReader } from "./reference_encoder.ts";

const [CHANNELS, SIZE, BATCH] = [4, 8, 2];
const HEAD = { kind: "none", dimension: CHANNELS } as const;

/** One convolution behind two batch norms and once alone, and one linear layer with and without LayerScale; or copies of them. */
function encoderOf(isShared: boolean): Encoder {
  return {
    name: "shared",
    family: "tests",
    roles: ["student"],
    ssl: "moco",
    head: "none",
    features: CHANNELS,
    trace(b, images) {
      const options = { inputs: CHANNELS, outputs: CHANNELS, kernel: 3, padding: 1, bias: true };
      const copies = (make: (key: string) => ReturnType<typeof b.linear>, key: string, count: number) => {
        const first = make(key);
        return Array.from({ length: count }, (_, i) => i === 0 || isShared ? first : make(`${key}_${i}`));
      };
      const stem = b.convolution("stem", { ...options, inputs: 3 });
      const convs = copies((key) => b.convolution(key, options), "conv", 3);
      const norms = ["bn1", "bn2"].map((key) => b.batchNorm(key, CHANNELS));
      const linears = copies((key) => b.linear(key, CHANNELS, CHANNELS), "fc", 2);
      const scale = b.layerScale("gamma", CHANNELS, 1);
      let x = b.convolve(images, stem);
      for (const [i, norm] of norms.entries()) x = b.convolveAndNormalize(x, convs[i], norm);
      x = b.convolve(x, convs[2]);
      x = b.convolveAndAdd(x, linears[0], x, { scale });
      x = b.convolveAndAdd(x, linears[1], x);
      const feature = b.graph.apply(globalAveragePool, [x], {});
      return { feature, embedding: feature };
    },
  };
}

/** The formula's values, a copy's those of what it is a copy of. */
function readerOf(encoder: Encoder): (key: string) => Float32Array {
  const read = formulaReader(summarize(encoder, HEAD, SIZE).state);
  return (key) => read(key.replace(/_\d/, ""));
}

Deno.test("a layer that is applied twice is folded in two ways, frozen and in ONNX", () =>
  withGpu(async (gpu) => {
    const images = formulaImages("input", BATCH, SIZE);
    const [shared, expected] = await Promise.all([true, false].map(async (isShared) => {
      const encoder = encoderOf(isShared);
      using frozen = await FrozenEncoder.create(gpu, {
        ...{ encoder, head: HEAD, input: "normalized", batch: BATCH, imageSize: SIZE, output: "feature" },
      });
      await frozen.load(readerOf(encoder));
      return await frozen.embed(images);
    }));
    assertNotEquals(expected[0], 0);
    assertEquals(shared, expected);

    await withFolder(async (folder) => {
      const encoder = encoderOf(true);
      const path = `${folder}/model.onnx`;
      const input = inputOf(encoder, { imageSize: SIZE, cropRatio: 1 });
      const model = traceOnnxModel({ encoder, head: HEAD, part: "backbone", normalize: false, input });
      const read = readerOf(encoder);
      await writeOnnxFile(path, model, { read: (key) => Promise.resolve(read(key)) });
      const shape = [BATCH, 3, SIZE, SIZE];
      const { feature } = await runOnnx(
        Deno.readFileSync(path),
        formulaTensor("input", shape, "image"),
        shape,
      );
      assertLess(relativeError(feature.data, expected), 1e-4);
    });
  }));

/** An exported encoder in onnxruntime-web, by its WebGPU backend and on the processor. */
import { env, InferenceSession, Tensor } from "onnxruntime-web/webgpu";
import type { Encoder } from "../models/encoder.ts";
import { inputOf } from "../models/encoder_input.ts";
import { writeOnnxFile } from "../models/export/onnx_file.ts";
import { traceOnnxModel } from "../models/export/onnx_model.ts";
import type { HeadOptions } from "../models/heads.ts";
import type { StateValues } from "../models/initialize.ts";
import type { Contestant } from "./measure.ts";

// What its Workers gain is not the question, and they would outlive the bench.
env.wasm.numThreads = 1;

/** What is run: an encoder with its weights, on images [n, 3, size, size]. */
export interface OnnxWork {
  encoder: Encoder;
  head: HeadOptions;
  weights: StateValues;
  batch: number;
  imageSize: number;
  images: Float32Array;
}

/** Normalised embeddings of a batch, read back. */
export async function embedOnnx(
  { encoder, head, weights, batch, imageSize, images }: OnnxWork,
  backend: "webgpu" | "wasm",
): Promise<Contestant> {
  const path = await Deno.makeTempFile({ suffix: ".onnx" });
  try {
    const input = inputOf(encoder, { imageSize, cropRatio: 1 });
    const traced = traceOnnxModel({ encoder, head, part: "encoder", normalize: true, input });
    await writeOnnxFile(path, traced, { read: (key) => Promise.resolve(weights.get(key)!) });
    const session = await InferenceSession.create(await Deno.readFile(path), {
      executionProviders: [backend],
      logSeverityLevel: 3, // shapes are computed on the processor, which it warns of
    });
    const tensor = new Tensor("float32", images, [batch, 3, imageSize, imageSize]);
    let embeddings: Float32Array | undefined;
    return {
      name: `onnxruntime ${backend}`,
      dispatches: backend === "webgpu",
      async run() {
        embeddings = (await session.run({ images: tensor })).normalized.data as Float32Array;
      },
      finish: () => Promise.resolve(), // `run` waits for the embeddings
      result: () => Promise.resolve({ embeddings: embeddings! }),
      dispose: () => void session.release(),
    };
  } finally {
    await Deno.remove(path);
  }
}

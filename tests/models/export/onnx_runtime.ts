/** Exported models as others see them: run by onnxruntime, and decoded field by field. */
import { env, InferenceSession, Tensor } from "onnxruntime-web/wasm";
import protobuf from "protobufjs";
import schema from "../../../models/export/onnx.proto" with { type: "text" };
import type { OnnxModel } from "../../../models/export/onnx_schema.ts";

// One thread: its Workers would outlive the test.
env.wasm.numThreads = 1;

/** A model's outputs by name, with their shapes. */
export type OnnxOutputs = Record<string, { shape: readonly number[]; data: Float32Array }>;

/**
 * Runs a model on `images` [n, 3, size, size].
 *
 * @param external weights in a file of their own, with the name that the model has for it
 */
export async function runOnnx(
  model: Uint8Array,
  images: Float32Array,
  shape: readonly number[],
  external?: { path: string; data: Uint8Array },
): Promise<OnnxOutputs> {
  const session = await InferenceSession.create(model, {
    executionProviders: ["wasm"],
    ...(external && { externalData: [external] }),
  });
  try {
    const outputs = await session.run({ images: new Tensor("float32", images, shape) });
    return Object.fromEntries(
      session.outputNames.map((name) => [
        name,
        { shape: outputs[name].dims, data: outputs[name].data as Float32Array },
      ]),
    );
  } finally {
    await session.release();
  }
}

/** Reads a `ModelProto`; integers come as numbers, enums by name. */
export function decodeOnnx(bytes: Uint8Array): Required<OnnxModel> {
  const type = protobuf.parse(schema).root.lookupType("onnx.ModelProto");
  const message = type.decode(bytes);
  return type.toObject(message, { longs: Number, enums: String, arrays: true }) as Required<OnnxModel>;
}

/** Vision transformers and ConvNeXts on the reference's images, of any height and width. */
import type { Gpu } from "../../kernels/gpu.ts";
import { Graph } from "../../kernels/graph.ts";
import { padRows, unpadRows } from "../../kernels/layout.ts";
import { Program } from "../../kernels/program.ts";
import type { Encoder } from "../../models/encoder.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import { ParameterStore, type ReadEntry } from "../../models/parameter_store.ts";
import { sineCosinePositions } from "../../models/position_embedding.ts";
import { summarize, usualHead } from "../../models/registry.ts";
import { PERIODS_KEY, ropePeriods } from "../../models/rotary_embedding.ts";
import { formulaTensor } from "../reference.ts";

/** Images of the reference's inputs. */
export const IMAGES = 2;

/** Height and width that a name of the reference says: `56`, or `56x84`. */
export function sizeNamed(name: string): [height: number, width: number] {
  const [height, width = height] = name.split("x").map(Number);
  return [height, width];
}

/** The reference's images of a size [2, h, w, 3], in the device's layout. */
export function referenceImages(name: string): Float32Array<ArrayBuffer> {
  const [height, width] = sizeNamed(name);
  const planar = formulaTensor(`vit/input/${name}`, [IMAGES, 3, height, width], "image");
  const plane = height * width;
  const interleaved = Float32Array.from(planar, (_, i) => {
    const [image, pixel, channel] = [Math.floor(i / (3 * plane)), Math.floor(i / 3) % plane, i % 3];
    return planar[(image * 3 + channel) * plane + pixel];
  });
  return padRows(interleaved, [IMAGES, height, width, 3]);
}

/**
 * Embeds the reference's images of a size, as they are.
 *
 * @param name of the size, e.g. `56x84`
 * @returns [2, features]
 */
export async function embedReference(
  gpu: Gpu,
  encoder: Encoder,
  read: ReadEntry,
  name: string,
): Promise<Float32Array> {
  const [height, width] = sizeNamed(name);
  const graph = new Graph();
  const images = graph.source("images", [IMAGES, height, width, 3]);
  const builder = new EncoderBuilder(graph, "eval");
  const { embedding } = encoder.trace(builder, images, usualHead(encoder));
  const parameters = builder.parametersOf(embedding);
  using store = new ParameterStore(gpu, parameters);
  await store.load(read);
  using program = await Program.compile(gpu, {
    label: encoder.name,
    graph,
    inputs: [images],
    outputs: [embedding],
    bound: store.bindings(),
  });
  program.write(images, referenceImages(name));
  program.run();
  return unpadRows(await program.read(embedding), [IMAGES, encoder.features]);
}

/** The largest difference of two embeddings, over the largest number of the second. */
export function differenceOf(actual: ArrayLike<number>, expected: readonly number[]): number {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return expected.reduce((most, value, i) => Math.max(most, Math.abs(actual[i] - value)), 0) / largest;
}

/** Last parts of names whose tensors the reference draws as biases. */
const SMALL = /(^|\.)(cls_token|pos_embed|register_tokens|storage_tokens|mask_token|bias|running_mean)$/;

/** Reads an encoder's entries as the reference's formula gives them. */
export function vitFormulaReader(encoder: Encoder): (key: string) => Float32Array {
  const { state } = summarize(encoder, usualHead(encoder));
  const shapes = new Map(state.map(({ key, shape }) => [key, shape]));
  return (key) => {
    const shape = shapes.get(key)!;
    if (encoder.ssl === "mocov3" && key === "pos_embed") {
      const side = Math.sqrt(shape[1] - 1);
      return Float32Array.from(sineCosinePositions(shape[2], [side, side]));
    }
    if (key === PERIODS_KEY) return Float32Array.from(ropePeriods(4 * shape[0]));
    const kind = SMALL.test(key)
      ? "small"
      : key.endsWith("running_var")
      ? "var"
      : shape.length === 1
      ? "gamma"
      : "weight";
    // ConvNeXt lists its last norm twice, and the formula's name is the second.
    const name = /ConvNeXt/.test(encoder.family) ? key.replace(/^norm\./, "norms.3.") : key;
    return formulaTensor(name, shape, kind);
  };
}

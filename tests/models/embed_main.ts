/** A program of its own, for its memory: embeds the formula's images with an encoder from a checkpoint. */
import { type Gpu, openGpu } from "../../kernels/gpu.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { FrozenEncoder } from "../../models/inference.ts";
import { formulaImages } from "./reference_encoder.ts";

/** The formula's images, normalised ones: square, of a name. */
export interface FormulaInput {
  name: string;
  count: number;
  /** Side, in pixels. */
  size: number;
}

/** What it is given: as JSON, its only argument. */
export interface EmbedTask {
  arch: string;
  /** Of the checkpoint. */
  path: string;
  /** The first ones are those whose memory counts; others are embedded afterwards, by the same weights. */
  inputs: readonly [FormulaInput, ...FormulaInput[]];
  /** As `--amp` has it. */
  mixedPrecision?: boolean;
  /** Most bytes of a binding, where the adapter could bind more. */
  maxBindingBytes?: number;
}

/** What it prints, as JSON. */
export interface Embedded {
  /**
   * The most memory that the process ever had resident (`VmHWM`) until it had embedded the first input. A software adapter's
   * device memory is part of it.
   */
  peakBytes: number;
  /** The device's memory then, where it is not the process's own. */
  deviceBytes: number;
  /** Of each input [count, dimension]. */
  embeddings: number[][];
}

/** The same device, as if it could bind no more. */
function withBindings(gpu: Gpu, most: number): Gpu {
  const maxStorageBufferBindingSize = Math.min(most, gpu.target.maxStorageBufferBindingSize);
  return { ...gpu, target: { ...gpu.target, maxStorageBufferBindingSize } };
}

const imagesOf = ({ name, count, size }: FormulaInput) => formulaImages(name, count, size);
const shapeOf = ({ count, size }: FormulaInput) => ({ batch: count, imageSize: size });

/** Does what the `encoder` actor does, on images that are normalised already. */
async function embedAll(gpu: Gpu, task: EmbedTask): Promise<Embedded> {
  const { arch, path, inputs: [first, ...others], mixedPrecision, maxBindingBytes = Infinity } = task;
  using source = await openEncoderSource(path, { arch, part: "encoder" });
  await source.requireFinite();
  using frozen = await FrozenEncoder.create(withBindings(gpu, maxBindingBytes), {
    encoder: source.encoder,
    head: source.head,
    ...shapeOf(first),
    input: "normalized",
    output: "embedding",
    mixedPrecision,
  });
  await frozen.load(source.read);
  const embeddings = [[...await frozen.embed(imagesOf(first))]];
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(Deno.readTextFileSync("/proc/self/status"))!;
  const deviceBytes = gpu.adapter.isSoftware ? 0 : gpu.allocatedBytes;
  for (const input of others) {
    using shared = await frozen.share(shapeOf(input));
    embeddings.push([...await shared.embed(imagesOf(input))]);
  }
  return { peakBytes: Number(kilobytes) * 1024, deviceBytes, embeddings };
}

if (import.meta.main) {
  const gpu = await openGpu("embed");
  console.log(JSON.stringify(await embedAll(gpu, JSON.parse(Deno.args[0]))));
  gpu.destroy();
}

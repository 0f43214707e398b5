/** A program of its own, for its memory: embeds two of the formula's images with an encoder from a checkpoint. */
import { openGpu } from "../../kernels/gpu.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { FrozenEncoder } from "../../models/inference.ts";
import { formulaImages } from "./reference_encoder.ts";

/** What it prints, as JSON. */
export interface Embedded {
  /** The most memory that the process ever had resident (`VmHWM`). */
  peakBytes: number;
  embedding: number[];
}

if (import.meta.main) {
  const [arch, path] = Deno.args;
  using source = await openEncoderSource(path, { arch, part: "encoder" });
  const gpu = await openGpu("embed");
  using frozen = await FrozenEncoder.create(gpu, {
    encoder: source.encoder,
    head: source.head,
    batch: 2,
    imageSize: 64,
    input: "normalized",
    output: "embedding",
  });
  await frozen.load(source.read);
  const embedding = [...await frozen.embed(formulaImages("input/64", 2, 64))];
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(Deno.readTextFileSync("/proc/self/status"))!;
  console.log(JSON.stringify({ peakBytes: Number(kilobytes) * 1024, embedding } satisfies Embedded));
  gpu.destroy();
}

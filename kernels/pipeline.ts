/** Pipelines of a device. */
import type { Gpu } from "./gpu.ts";

/** The pipeline of a WGSL module on a device; equal texts give the same pipeline. */
export function pipelineFor(gpu: Gpu, source: string, label: string): GPUComputePipeline {
  let pipeline = gpu.pipelines.get(source);
  if (pipeline === undefined) {
    const module = gpu.device.createShaderModule({ label, code: source });
    pipeline = gpu.device.createComputePipeline({
      label,
      layout: "auto",
      compute: { module, entryPoint: "main" },
    });
    gpu.pipelines.set(source, pipeline);
  }
  return pipeline;
}

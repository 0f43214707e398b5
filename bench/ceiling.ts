/** How fast an adapter multiplies and adds when nothing is loaded. */
import type { Gpu } from "../kernels/gpu.ts";
import { range } from "../kernels/wgsl.ts";
import { median } from "./measure.ts";

const LANES = 64;
const WORKGROUPS = 256;

/** Multiplications and additions of an accumulator. */
const STEPS = 4096;

/** Accumulators of an invocation: enough that none waits for itself, and few enough for the registers. */
const CHAINS = [3, 4, 6, 16];

/** Steps in a turn of the loop: its own instructions should not count. */
const STEPS_PER_TURN = [4, 8];

/** GFLOP/s of the best of some kernels that keep everything in registers. */
export async function multiplyAdds({ device }: Gpu, rounds: number): Promise<number> {
  const buffer = device.createBuffer({ size: LANES * WORKGROUPS * 16, usage: GPUBufferUsage.STORAGE });
  let best = 0;
  for (
    const [chains, perTurn] of CHAINS.flatMap((chains) => STEPS_PER_TURN.map((steps) => [chains, steps]))
  ) {
    const all = range(chains);
    const step = all.map((i) => `a${i} = a${i} * scale + shift;`).join(" ");
    const code = `@group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(${LANES})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let scale = vec4<f32>(1.0 - f32(id.x) * 1e-9);
  let shift = vec4<f32>(f32(id.x) * 1e-9);
  ${all.map((i) => `var a${i} = vec4<f32>(f32(id.x + ${i}u));`).join(" ")}
  for (var turn = 0u; turn < ${STEPS / perTurn}u; turn++) { ${step.repeat(perTurn)} }
  y[id.x] = ${all.map((i) => `a${i}`).join(" + ")};
}`;
    const pipeline = device.createComputePipeline({
      layout: "auto",
      compute: { module: device.createShaderModule({ code }), entryPoint: "main" },
    });
    const bindGroup = device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer } }],
    });
    const run = async (count: number) => {
      const start = performance.now();
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      for (let i = 0; i < count; i++) pass.dispatchWorkgroups(WORKGROUPS);
      pass.end();
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
      return performance.now() - start;
    };
    await run(1);
    // The wait for the device is in both, and not in their difference.
    const times = [];
    for (let i = 0; i < rounds; i++) times.push((await run(5) - await run(1)) / 4);
    const milliseconds = median(times);
    const operations = LANES * WORKGROUPS * STEPS * chains * 4 * 2;
    best = Math.max(best, operations / milliseconds / 1e6);
  }
  buffer.destroy();
  return best;
}

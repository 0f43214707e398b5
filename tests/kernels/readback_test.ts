import { assert, assertEquals, assertRejects } from "@std/assert";
import { GpuError, openGpu } from "../../kernels/gpu.ts";
import { readBuffer, readStaging, TRIED_DENO } from "../../kernels/readback.ts";
import { withGpu } from "./check_op.ts";

/** Counts up one number on the device, and reads it back. */
function counter(device: GPUDevice) {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC;
  const count = device.createBuffer({ size: 256, usage });
  const code = `@group(0) @binding(0) var<storage, read_write> count: u32;
@compute @workgroup_size(1) fn main() { count = count + 1u; }`;
  const pipeline = device.createComputePipeline({
    layout: "auto",
    compute: { module: device.createShaderModule({ code }), entryPoint: "main" },
  });
  const bindGroup = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: count } }],
  });
  /** @param staging where the count is copied to */
  const countUp = (staging?: GPUBuffer) => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(1);
    pass.end();
    if (staging !== undefined) encoder.copyBufferToBuffer(count, 0, staging, 0, 4);
    device.queue.submit([encoder.finish()]);
  };
  return { count, countUp };
}

const first = (bytes: ArrayBuffer) => new Uint32Array(bytes)[0];

Deno.test("readStaging() reads what the device has just written, again and again, and lets others have their turn", () =>
  withGpu(async (gpu) => {
    const { countUp } = counter(gpu.device);
    const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ;
    const staging = [0, 1].map(() => gpu.device.createBuffer({ size: 16, usage }));
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    for (let count = 1; count <= 300; count++) {
      const buffer = staging[count % 2];
      countUp(buffer);
      assertEquals(await readStaging(gpu, buffer, first, 4), count);
      if (count % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 25)); // the promises come in
    }
    clearInterval(timer);
    assert(turns > 20, `${turns} turns`);
    for (const buffer of staging) buffer.destroy();
  }));

Deno.test("readBuffer() reads any part of a buffer, several at once too, and keeps what it reads by", () =>
  withGpu(async (gpu) => {
    const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = gpu.device.createBuffer({ size: 4096, usage });
    gpu.device.queue.writeBuffer(buffer, 0, Uint32Array.from({ length: 1024 }, (_, i) => i));
    const parts = [[0, 4], [40, 1000], [4092, 4], [0, 4096], [512, 512]] as const;
    const read = () => Promise.all(parts.map(([offset, bytes]) => readBuffer(gpu, buffer, offset, bytes)));
    await read();
    const allocated = gpu.allocatedBytes;
    for (let round = 0; round < 3; round++) {
      for (const [i, part] of (await read()).entries()) {
        const [offset, bytes] = parts[i];
        assertEquals([...new Uint32Array(part)], Array.from({ length: bytes / 4 }, (_, k) => offset / 4 + k));
      }
    }
    assertEquals(gpu.allocatedBytes, allocated);
    buffer.destroy();
  }));

Deno.test("what is read from a device that failed is an error, the first time and later", async () => {
  const gpu = await openGpu("failing");
  const { count } = counter(gpu.device);
  await readBuffer(gpu, count);
  await readBuffer(gpu, count);
  gpu.device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE }); // is refused
  await new Promise((resolve) => setTimeout(resolve, 25));
  await assertRejects(() => readBuffer(gpu, count), GpuError, "failing: ");
  await assertRejects(() => readBuffer(gpu, count), GpuError, "failing: ");
  gpu.destroy();
});

Deno.test("what the device refuses to copy is an error, and not what was read before", async () => {
  const gpu = await openGpu("failing");
  const { count, countUp } = counter(gpu.device);
  for (let i = 1; i <= 3; i++) {
    countUp();
    assertEquals(first(await readBuffer(gpu, count)), i);
  }
  const gone = gpu.device.createBuffer({ size: 256, usage: GPUBufferUsage.COPY_SRC });
  gone.destroy();
  await assertRejects(() => readBuffer(gpu, gone), GpuError, "failing: ");
  gpu.destroy();
});

Deno.test("the version of Deno that runs the tests reads at once", () => {
  assert(
    TRIED_DENO.includes(Deno.version.deno),
    `Deno ${Deno.version.deno} reads through a poll of 10 ms. If the tests above pass with it in TRIED_DENO, add it there`,
  );
});

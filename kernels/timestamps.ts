/** What a device's timestamps count. */
import { setTimeout } from "node:timers/promises";
import type { Gpu } from "./gpu.ts";
import { pipelineFor } from "./pipeline.ts";
import { readBuffer } from "./readback.ts";

/** Milliseconds between two stamps that are compared with the host's clock, which may be behind by some. */
const INTERVAL_MS = 100;

/** Nanoseconds of a tick from which on a device does not count them: devices count one, 10 (AMD) or 52 and more (Intel). */
const LEAST_OTHER_PERIOD = 4;

/** Of each device that was asked for. */
const periods = new WeakMap<GPUDevice, Promise<number | undefined>>();

/**
 * Returns the nanoseconds of a tick of a device's timestamps; `undefined` where it has none, or gives zeros in their place, as all
 * do on some versions of macOS 26 (gfx-rs/wgpu#9414). WebGPU says that a tick is one nanosecond. Deno (2.9) hands on what the driver
 * counts, and gives no way to ask it for the period: so it is measured, once for each device, in a tenth of a second.
 *
 * @throws {GpuError} if the device fails
 */
export function timestampPeriod(gpu: Gpu): Promise<number | undefined> {
  if (!gpu.device.features.has("timestamp-query")) return Promise.resolve(undefined);
  let period = periods.get(gpu.device);
  if (period === undefined) periods.set(gpu.device, period = findPeriod(gpu));
  return period;
}

async function findPeriod(gpu: Gpu): Promise<number | undefined> {
  // Vulkan's software adapters have the host's own clock; what that of Windows counts is measured.
  if (gpu.target.isSoftware && Deno.build.os !== "windows") {
    return (await readClocks(gpu)).ticks > 0 ? 1 : undefined;
  }
  const found = await measureTimestampPeriod(gpu);
  return found !== undefined && found < LEAST_OTHER_PERIOD ? 1 : found;
}

/** A kernel that does nothing: Metal stamps no pass without a dispatch (gfx-rs/wgpu-native#625). */
const NOTHING = "@compute @workgroup_size(1) fn main() {}";

/** What has a pass write when it begins into the query `first`, and when it ends into the next one. */
export function timestampWrites(querySet: GPUQuerySet, first: number): GPUComputePassTimestampWrites {
  return { querySet, beginningOfPassWriteIndex: first, endOfPassWriteIndex: first + 1 };
}

/** Encodes a pass that does nothing but that. */
export function encodeStamps(
  gpu: Gpu,
  encoder: GPUCommandEncoder,
  querySet: GPUQuerySet,
  first: number,
): void {
  const pass = encoder.beginComputePass({
    label: "timestamps",
    timestampWrites: timestampWrites(querySet, first),
  });
  pass.setPipeline(pipelineFor(gpu, NOTHING, "timestamps"));
  pass.dispatchWorkgroups(1);
  pass.end();
}

/**
 * Compares the device's clock with the host's. Returns the nanoseconds of a tick, to some percent; `undefined` where the device's
 * clock stands still.
 */
export async function measureTimestampPeriod(gpu: Gpu): Promise<number | undefined> {
  const first = await readClocks(gpu);
  await setTimeout(INTERVAL_MS);
  const second = await readClocks(gpu);
  const ticks = Number(second.ticks - first.ticks);
  return ticks > 0 ? 1e6 * (second.milliseconds - first.milliseconds) / ticks : undefined;
}

/** Reads the device's clock, and the host's at the same moment. */
async function readClocks(gpu: Gpu): Promise<{ ticks: bigint; milliseconds: number }> {
  const { device } = gpu;
  const querySet = device.createQuerySet({ type: "timestamp", count: 2 });
  const resolved = device.createBuffer({
    label: "clock",
    size: 8 * 2,
    usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
  });
  try {
    const encoder = device.createCommandEncoder({ label: "clock" });
    encodeStamps(gpu, encoder, querySet, 0);
    encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
    device.queue.submit([encoder.finish()]);
    const reading = readBuffer(gpu, resolved);
    // The call has waited for the device. What else this thread has to do comes before the bytes do, and may take long.
    const milliseconds = performance.now();
    const [, ticks] = new BigUint64Array(await reading);
    return { ticks, milliseconds };
  } finally {
    resolved.destroy();
    querySet.destroy();
  }
}

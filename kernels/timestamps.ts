/** What a device's timestamps count. */
import { setTimeout } from "node:timers/promises";
import type { Gpu } from "./gpu.ts";
import { readBuffer } from "./readback.ts";

/** Milliseconds between two stamps that are compared with the host's clock, which may be behind by some. */
const INTERVAL_MS = 100;

/** Nanoseconds of a tick from which on a device does not count them: devices count one, 10 (AMD) or 52 and more (Intel). */
const LEAST_OTHER_PERIOD = 4;

/** Of each device that was asked for. */
const periods = new WeakMap<GPUDevice, Promise<number>>();

/**
 * Returns the nanoseconds of a tick of a device's timestamps, which it must have. WebGPU says that it is one. Deno (2.9) hands on
 * what the driver counts, and gives no way to ask it for the period: so it is measured, once for each device, in a tenth of a second.
 *
 * @throws {GpuError} if the device fails
 */
export function timestampPeriod(gpu: Gpu): Promise<number> {
  if (gpu.target.isSoftware) return Promise.resolve(1); // the host's own clock
  let period = periods.get(gpu.device);
  if (period === undefined) {
    period = measureTimestampPeriod(gpu).then((found) => found < LEAST_OTHER_PERIOD ? 1 : found);
    periods.set(gpu.device, period);
  }
  return period;
}

/** Compares the device's clock with the host's: nanoseconds of a tick, to some percent. */
export async function measureTimestampPeriod(gpu: Gpu): Promise<number> {
  const { device } = gpu;
  const querySet = device.createQuerySet({ type: "timestamp", count: 2 });
  const resolved = device.createBuffer({
    label: "timestamps of two clocks",
    size: 8 * 2,
    usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
  });
  const readClocks = async () => {
    const encoder = device.createCommandEncoder({ label: "timestamps of two clocks" });
    encoder.beginComputePass({
      timestampWrites: { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 },
    }).end();
    encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
    device.queue.submit([encoder.finish()]);
    const reading = readBuffer(gpu, resolved);
    // The call has waited for the device. What else this thread has to do comes before the bytes do, and may take long.
    const milliseconds = performance.now();
    const [, ticks] = new BigUint64Array(await reading);
    return { ticks, milliseconds };
  };
  try {
    const first = await readClocks();
    await setTimeout(INTERVAL_MS);
    const second = await readClocks();
    const ticks = Number(second.ticks - first.ticks);
    return ticks > 0 ? 1e6 * (second.milliseconds - first.milliseconds) / ticks : 1;
  } finally {
    resolved.destroy();
    querySet.destroy();
  }
}

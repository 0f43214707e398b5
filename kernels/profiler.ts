/**
 * How long each dispatch takes: by timestamps where the device has them, else by waiting for each one alone.
 *
 * Dispatches are timed one after the other on an idle device, so that what is found is the kernel's own time and not
 * what others on the device leave of it.
 */
import type { Gpu } from "./gpu.ts";
import { readBuffer, WAITS_IN_CALLS } from "./readback.ts";
import type { Work } from "./schedule.ts";
import { encodeStamps, timestampPeriod, timestampWrites } from "./timestamps.ts";

/** The time and the work of one dispatch, or of the copies that it needs before it. */
export interface KernelTime extends Work {
  /** Label of the dispatch, such as `conv2d 3x3`. */
  label: string;
  /** Median over the repetitions. */
  milliseconds: number;
}

/** One dispatch as it is timed. */
export interface TimedDispatch extends Work {
  label: string;
  /** Copies that must come before it, and how many bytes they read and write. */
  copy?: { bytes: number; encode(encoder: GPUCommandEncoder): void };
  encode(pass: GPUComputePassEncoder): void;
}

/** What the copies into operand textures are called. */
export const COPY_LABEL = "copy to texture";

/** Queries of a set at most, on every device. */
const MAX_QUERIES = 4096;

/** Runs dispatches in their order, several times, and times each. */
export async function timeDispatches(
  gpu: Gpu,
  dispatches: readonly TimedDispatch[],
  repetitions: number,
): Promise<KernelTime[]> {
  if (dispatches.length === 0) return [];
  const period = await timestampPeriod(gpu);
  const measure = () =>
    period === undefined ? timeByWaiting(gpu, dispatches) : timeByStamps(gpu, dispatches, period);
  const runs: Sample[][] = [];
  for (let i = 0; i < repetitions; i++) runs.push(await measure());
  return dispatches.flatMap(({ label, flops, bytes, copy }, i) => {
    const kernel = { label, flops, bytes, milliseconds: median(runs.map((run) => run[i].kernel)) };
    if (copy === undefined) return [kernel];
    const milliseconds = median(runs.map((run) => run[i].copy));
    return [{ label: COPY_LABEL, flops: 0, bytes: copy.bytes, milliseconds }, kernel];
  });
}

/** Milliseconds of one dispatch and of the copies before it. */
interface Sample {
  kernel: number;
  copy: number;
}

/**
 * All in few submissions; a copy lasts from the end of the pass before it to the beginning of the next.
 *
 * @param period nanoseconds of a tick
 */
async function timeByStamps(
  gpu: Gpu,
  dispatches: readonly TimedDispatch[],
  period: number,
): Promise<Sample[]> {
  const { device } = gpu;
  const samples: Sample[] = [];
  const perSet = MAX_QUERIES / 2 - 1;
  for (let first = 0; first < dispatches.length; first += perSet) {
    const part = dispatches.slice(first, first + perSet);
    const count = 2 * (part.length + 1);
    const querySet = device.createQuerySet({ type: "timestamp", count });
    const resolved = device.createBuffer({
      label: "timestamps",
      size: 8 * count,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
    try {
      const encoder = device.createCommandEncoder({ label: "profile" });
      // So that a copy before the first dispatch has a beginning too.
      encodeStamps(gpu, encoder, querySet, 0);
      for (const [i, { copy, encode }] of part.entries()) {
        copy?.encode(encoder);
        const pass = encoder.beginComputePass({ timestampWrites: timestampWrites(querySet, 2 * (i + 1)) });
        encode(pass);
        pass.end();
      }
      encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
      device.queue.submit([encoder.finish()]);
      const stamps = new BigUint64Array(await readBuffer(gpu, resolved));
      const between = (from: number, to: number) =>
        Math.max(0, period * Number(stamps[to] - stamps[from]) / 1e6);
      for (let i = 1; i <= part.length; i++) {
        samples.push({ kernel: between(2 * i, 2 * i + 1), copy: between(2 * i - 1, 2 * i) });
      }
    } finally {
      resolved.destroy();
      querySet.destroy();
    }
  }
  return samples;
}

/** Each in a submission of its own that is waited for, less what an empty one takes. */
async function timeByWaiting(gpu: Gpu, dispatches: readonly TimedDispatch[]): Promise<Sample[]> {
  const { queue } = gpu.device;
  const time = async (encode?: (encoder: GPUCommandEncoder) => void) => {
    const encoder = gpu.device.createCommandEncoder({ label: "profile" });
    encode?.(encoder);
    const commands = [encoder.finish()];
    const start = performance.now();
    queue.submit(commands);
    const done = gpu.wait(queue.onSubmittedWorkDone());
    const returned = performance.now();
    await done;
    return (WAITS_IN_CALLS ? returned : performance.now()) - start;
  };
  const waits: number[] = [];
  for (let i = 0; i < 5; i++) waits.push(await time());
  const wait = median(waits);
  const samples: Sample[] = [];
  for (const { copy, encode } of dispatches) {
    const copying = copy === undefined ? wait : await time((encoder) => copy.encode(encoder));
    const running = await time((encoder) => {
      const pass = encoder.beginComputePass();
      encode(pass);
      pass.end();
    });
    samples.push({ kernel: Math.max(0, running - wait), copy: Math.max(0, copying - wait) });
  }
  return samples;
}

/** The middle one. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

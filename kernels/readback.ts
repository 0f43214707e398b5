/**
 * Reading from the device.
 *
 * Deno's `mapAsync()` waits inside the call until the device is done, and resolves its promise at the next tick of a poll of
 * 10 ms. The bytes are there as soon as the call returns, so they are read at once, where two things hold that were tried
 * out: the version of Deno is one of {@linkcode TRIED_DENO}, and the buffer was mapped before with `await` (Deno 2.9.6
 * aborts the process where it never was). Where the bytes are not there yet, the promise is awaited after all.
 */
import { setImmediate } from "node:timers";
import type { Gpu } from "./gpu.ts";

/** Versions of Deno on which reading at once was tried, as `tests/kernels/readback_test.ts` does. */
export const TRIED_DENO: readonly string[] = Array.from({ length: 7 }, (_, patch) => `2.9.${patch}`);

/**
 * Whether `mapAsync()` and `onSubmittedWorkDone()` return when the device is done. Their promises are kept at the next tick of that
 * poll.
 */
export const WAITS_IN_CALLS = TRIED_DENO.includes(Deno.version.deno);

/** Buffers that were mapped before. */
const mappedBefore = new WeakSet<GPUBuffer>();

/**
 * Waits for the work submitted so far, and hands the first bytes of a staging buffer to `use`, which must not keep them.
 *
 * @param staging a buffer to be mapped for reading, which nothing else maps meanwhile; faster from the second time on
 * @throws {GpuError} if the device fails
 */
export async function readStaging<Result>(
  gpu: Gpu,
  staging: GPUBuffer,
  use: (bytes: ArrayBuffer) => Result,
  bytes: number = staging.size,
): Promise<Result> {
  const isMapped = gpu.wait(staging.mapAsync(GPUMapMode.READ, 0, bytes));
  const range = WAITS_IN_CALLS && mappedBefore.has(staging) ? rangeOf(staging, bytes) : undefined;
  if (range === undefined) await isMapped;
  else isMapped.catch(() => {}); // that the device failed since then shows at the next call
  let result: Result;
  try {
    gpu.check();
    result = use(range ?? staging.getMappedRange(0, bytes));
  } finally {
    staging.unmap();
    mappedBefore.add(staging);
  }
  if (range !== undefined) {
    // What else the Worker has to do gets its turn, as it does where the promise is awaited; and the device its say: where it has
    // refused what would have filled the buffer, the bytes are those of before.
    await new Promise<void>((resolve) => setImmediate(resolve));
    gpu.check();
  }
  return result;
}

/** The mapped bytes; `undefined` where the device is not done. */
function rangeOf(staging: GPUBuffer, bytes: number): ArrayBuffer | undefined {
  try {
    return staging.getMappedRange(0, bytes);
  } catch {
    return undefined;
  }
}

/** Sizes of the staging buffers that are kept: powers of two in between. */
const LEAST_BYTES = 256;
const MOST_BYTES = 2 ** 22;

const kept = new WeakMap<GPUDevice, Map<number, GPUBuffer[]>>();

/** Returns a copy of `bytes` bytes of a buffer, after the work submitted so far. */
export async function readBuffer(
  gpu: Gpu,
  source: GPUBuffer,
  offset = 0,
  bytes: number = source.size - offset,
): Promise<ArrayBuffer> {
  const { device } = gpu;
  const isKept = bytes <= MOST_BYTES;
  const size = isKept ? Math.max(LEAST_BYTES, 2 ** Math.ceil(Math.log2(bytes))) : bytes;
  let bySize = kept.get(device);
  if (bySize === undefined) kept.set(device, bySize = new Map());
  const free = bySize.get(size) ?? [];
  bySize.set(size, free);
  const staging = free.pop() ?? device.createBuffer({
    label: "what is read",
    size,
    usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
  });
  let isWhole = false;
  try {
    const encoder = device.createCommandEncoder({ label: "read" });
    encoder.copyBufferToBuffer(source, offset, staging, 0, bytes);
    device.queue.submit([encoder.finish()]);
    const copy = await readStaging(gpu, staging, (range) => range.slice(0), bytes);
    isWhole = true;
    return copy;
  } finally {
    if (isKept && isWhole) free.push(staging);
    else staging.destroy();
  }
}

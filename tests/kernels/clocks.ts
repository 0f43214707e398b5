/** Devices whose clocks are not as they should be, and threads that are late to look at them. */
import { type Gpu, viewOf } from "../../kernels/gpu.ts";

/** Milliseconds that a Worker may compute without a break, as for its first weights. */
export const BUSY_MS = 600;

/** Keeps the thread busy once: behind the `nth` call of a method, before the promise that this gave is kept. */
export function busyBehind<Name extends string>(
  prototype: Record<Name, (...args: never[]) => Promise<unknown>>,
  name: Name,
  nth: number,
): Disposable {
  const method = prototype[name];
  let calls = 0;
  prototype[name] = function (...args) {
    const promise = method.apply(this, args);
    if (++calls === nth) {
      queueMicrotask(() => {
        const end = performance.now() + BUSY_MS;
        while (performance.now() < end);
      });
    }
    return promise;
  };
  return { [Symbol.dispose]: () => prototype[name] = method };
}

/** The same device, as if its adapter had no timestamps. */
export function withoutTimestamps(gpu: Gpu): Gpu {
  const device = viewOf(gpu.device);
  Object.assign(device, { features: new Set() });
  return { ...gpu, device };
}

/** The same device, of which nothing has been measured yet, and which gives zeros for timestamps until this is disposed. */
export function withZeroTimestamps(gpu: Gpu): Disposable & { zeros: Gpu } {
  const { resolveQuerySet } = GPUCommandEncoder.prototype;
  GPUCommandEncoder.prototype.resolveQuerySet = () => {};
  return {
    zeros: { ...gpu, device: viewOf(gpu.device) },
    [Symbol.dispose]: () => GPUCommandEncoder.prototype.resolveQuerySet = resolveQuerySet,
  };
}

/** Counts the dispatches of each pass that is stamped, until it is disposed. */
export function countStampedDispatches(): Disposable & { counts: number[] } {
  const { beginComputePass } = GPUCommandEncoder.prototype;
  const counts: number[] = [];
  GPUCommandEncoder.prototype.beginComputePass = function (descriptor) {
    const pass = beginComputePass.call(this, descriptor);
    if (descriptor?.timestampWrites === undefined) return pass;
    const index = counts.push(0) - 1;
    const dispatch = pass.dispatchWorkgroups.bind(pass);
    pass.dispatchWorkgroups = (...workgroups) => {
      counts[index]++;
      dispatch(...workgroups);
    };
    return pass;
  };
  return { counts, [Symbol.dispose]: () => GPUCommandEncoder.prototype.beginComputePass = beginComputePass };
}

/** Several devices that gather what each of them has, as programs on one. */
import type { Gpu } from "../../kernels/gpu.ts";
import type { GatheredRows } from "../../kernels/program.ts";

/** What {@linkcode runSegments} calls on one of the devices. */
export type Gather = (rows: GatheredRows) => Promise<void>;

/** Returns what each of the devices gathers with, in their order. */
export function gatherOnOne({ device }: Gpu, devices: number): Gather[] {
  let all = new Map<number, GatheredRows>();
  let ended = Promise.withResolvers<void>();
  return Array.from({ length: devices }, (_, own) => (rows) => {
    const { promise } = ended;
    all.set(own, rows);
    if (all.size === devices) {
      const encoder = device.createCommandEncoder();
      for (const { to } of all.values()) {
        for (const [i, { from }] of all) {
          const at = to.offset + i * from.bytes;
          encoder.copyBufferToBuffer(from.buffer, from.offset, to.buffer, at, from.bytes);
        }
      }
      device.queue.submit([encoder.finish()]);
      ended.resolve();
      [all, ended] = [new Map(), Promise.withResolvers<void>()];
    }
    return promise;
  });
}

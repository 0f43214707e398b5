/**
 * A plugin that collects the garbage of the Worker it is loaded in every few seconds, and tells what is left. An engine that
 * is in no need of memory lets garbage lie for hours; what a soak looks for is what nobody can collect any more.
 *
 * @module
 */
import { type HeapMessage, HEAPS } from "./memory_in_use.ts";

const INTERVAL_MS = 3_000;

const { gc } = globalThis as { gc?: () => void };
if (gc === undefined) {
  throw new Error("garbage cannot be collected on demand: run Deno with --v8-flags=--expose-gc");
}
const { name = "" } = globalThis as { name?: string };
Deno.unrefTimer(setInterval(() => {
  gc();
  const channel = new BroadcastChannel(HEAPS);
  const { heapUsed: used, heapTotal: kept } = Deno.memoryUsage();
  channel.postMessage({ name, used, kept } satisfies HeapMessage);
  channel.close();
}, INTERVAL_MS));

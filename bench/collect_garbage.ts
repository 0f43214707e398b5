/**
 * A plugin that collects the garbage of the Worker it is loaded in every few seconds. An engine that is in no need of memory
 * lets garbage lie for hours; what a soak looks for is what nobody can collect any more.
 *
 * @module
 */

const INTERVAL_MS = 3_000;

const { gc } = globalThis as { gc?: () => void };
if (gc === undefined) {
  throw new Error("garbage cannot be collected on demand: run Deno with --v8-flags=--expose-gc");
}
Deno.unrefTimer(setInterval(gc, INTERVAL_MS));

/** Measures what the adapter does at most, as actors meet it: a software adapter's device may have a part of the processors there. */
import { type Ceilings, measureCeilings } from "../kernels/ceilings.ts";
import { openGpu } from "../kernels/gpu.ts";
import { defineActor, type Message } from "./runtime/mod.ts";

/** Messages that the meter takes. */
export interface AdapterMeter {
  /** Takes a second or so; no other actor should compute meanwhile. See {@linkcode measureCeilings}. */
  measure: Message<void, Ceilings | undefined>;
}

export default defineActor<AdapterMeter>(async (_config, context) => {
  const gpu = await openGpu(context.name);
  context.onStop(() => gpu.destroy());
  return { handlers: { measure: () => measureCeilings(gpu) } };
});

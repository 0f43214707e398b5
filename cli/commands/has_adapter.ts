/** `deno run -A cli/commands/has_adapter.ts`: names the WebGPU adapter; exit code 4 where there is none. For `./seed`. */

import { describeAdapter, NoAdapterError } from "../../kernels/gpu.ts";

/** Exit code that says that there is no adapter, and nothing else is wrong. */
const NO_ADAPTER_CODE = 4;

if (import.meta.main) {
  try {
    console.log((await describeAdapter()).name);
  } catch (error) {
    if (!(error instanceof NoAdapterError)) throw error;
    console.error(error.message);
    Deno.exit(NO_ADAPTER_CODE);
  }
}

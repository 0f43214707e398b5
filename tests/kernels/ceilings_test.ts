import { assert } from "@std/assert";
import { measureCopy, measureMultiplyAdds } from "../../kernels/ceilings.ts";
import { withGpu } from "./check_op.ts";

Deno.test("the ceilings of an adapter are measured by kernels that it takes", () =>
  withGpu(async (gpu) => {
    // No figure of a shared machine is a test's; a kernel that the device refused would take no time at all.
    const [flops, bytes] = [await measureMultiplyAdds(gpu, 1), await measureCopy(gpu, 1)];
    assert(flops > 1e8 && flops < 1e15, `${flops} operations a second`);
    assert(bytes > 1e7 && bytes < 1e14, `${bytes} bytes a second`);
  }));

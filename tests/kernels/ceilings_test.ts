import { assert, assertEquals } from "@std/assert";
import {
  measureCeilings,
  measureCopy,
  measureMultiplyAdds,
  multiplyAddOperations,
  multiplyAddSource,
} from "../../kernels/ceilings.ts";
import { withGpu } from "./check_op.ts";
import { withoutTimestamps, withZeroTimestamps } from "./clocks.ts";

Deno.test("the ceilings of an adapter are measured by kernels that it takes", () =>
  withGpu(async (gpu) => {
    // No figure of a shared machine is a test's; a kernel that the device refused would take no time at all.
    const [flops, bytes] = [await measureMultiplyAdds(gpu, 1), await measureCopy(gpu, 1)];
    assert(flops > 1e8 && flops < 1e15, `${flops} operations a second`);
    assert(bytes > 1e7 && bytes < 1e14, `${bytes} bytes a second`);
  }));

Deno.test("what an adapter computes is measured by waiting where its timestamps are zeros", () =>
  withGpu(async (gpu) => {
    using device = withZeroTimestamps(gpu);
    const flops = await measureMultiplyAdds(device.zeros, 1);
    assert(flops > 1e8 && flops < 1e15, `${flops} operations a second`);
  }));

Deno.test("an adapter has no ceilings where the clock shows no time", () =>
  withGpu(async (gpu) => {
    const { now } = performance;
    performance.now = () => 0;
    try {
      assertEquals(await measureCeilings(withoutTimestamps(gpu), 1), undefined);
    } finally {
      performance.now = now;
    }
  }));

Deno.test("multiplyAddOperations() counts the multiplications and additions that are in the kernel's loop", () => {
  for (const chains of [1, 3, 16]) {
    for (const perTurn of [4, 8]) {
      const source = multiplyAddSource(chains, perTurn);
      const [, lanes] = source.match(/@workgroup_size\((\d+)\)/)!;
      const [, turns, body] = source.match(/turn < (\d+)u; turn\+\+\) \{(.*)\}/)!;
      // Each is of a vec4.
      const inTurn = 4 * body.match(/ [*+] /g)!.length;
      assertEquals(multiplyAddOperations(chains), Number(lanes) * Number(turns) * inTurn);
    }
  }
});

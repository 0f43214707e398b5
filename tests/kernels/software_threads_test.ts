import { assertEquals } from "@std/assert";
import { divideProcessors } from "../../kernels/software_threads.ts";
import { isOneDevice, shareDevice } from "../../kernels/gpu.ts";

const VARIABLE = "LP_NUM_THREADS";
const CORES = navigator.hardwareConcurrency;
/** What each of two devices has. */
const HALF = String(CORES >= 4 ? Math.floor(CORES / 2) : 0);

/** Runs with the variable set, or not, and actors on devices of their own; what was there before is there afterwards. */
function withVariable(value: string | undefined, body: () => void): void {
  const before = Deno.env.get(VARIABLE);
  const wasOne = isOneDevice();
  const set = (value: string | undefined) =>
    value === undefined ? Deno.env.delete(VARIABLE) : Deno.env.set(VARIABLE, value);
  try {
    set(value);
    shareDevice(false);
    body();
  } finally {
    shareDevice(wasOne);
    set(before);
  }
}

Deno.test("processors are divided between devices until the last run has ended", () =>
  withVariable(undefined, () => {
    {
      using _one = divideProcessors(1);
      assertEquals(Deno.env.get(VARIABLE), undefined);
    }
    const first = divideProcessors(2);
    assertEquals(Deno.env.get(VARIABLE), HALF);
    const second = divideProcessors(CORES * 2);
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    assertEquals(Deno.env.get(VARIABLE), HALF);
    second[Symbol.dispose]();
    assertEquals(Deno.env.get(VARIABLE), undefined);
    using _many = divideProcessors(CORES);
    assertEquals(Deno.env.get(VARIABLE), CORES < 2 ? undefined : "0");
  }));

Deno.test("the threads of a software adapter stay as the user has set them, and where actors share a device", () => {
  withVariable("1", () => {
    {
      using _two = divideProcessors(2);
      assertEquals(Deno.env.get(VARIABLE), "1");
    }
    assertEquals(Deno.env.get(VARIABLE), "1");
  });
  withVariable(undefined, () => {
    shareDevice(true);
    using _two = divideProcessors(2);
    assertEquals(Deno.env.get(VARIABLE), undefined);
  });
});

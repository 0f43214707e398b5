import { assert, assertEquals } from "@std/assert";
import { LONGEST_TIMER_MS, setTimer } from "../../../actors/runtime/timer.ts";
import type probe from "./fixtures/probe.ts";
import { fixture, sleep, until, withSystem } from "./helpers.ts";

Deno.test("setTimer() goes off in time, and never where a timer cannot wait so long", async () => {
  const calls: number[] = [];
  const timers = [1, LONGEST_TIMER_MS, LONGEST_TIMER_MS + 1, Infinity].map((ms) =>
    setTimer(() => calls.push(ms), ms)
  );
  await until(() => calls.length > 0);
  await sleep(20);
  assertEquals(calls, [1]);
  for (const timer of timers) clearTimeout(timer);
});

const MONTH_MS = 30 * 86_400_000;

for (const forever of [MONTH_MS, Infinity]) {
  Deno.test(`an actor may take ${forever} ms to start, to answer and to stop`, async () => {
    const hookFile = await Deno.makeTempFile();
    const limits = { startTimeoutMs: forever };
    await withSystem(async (system) => {
      const a = system.spawn<typeof probe>("a", fixture("probe.ts"), { hookFile }, limits);
      assertEquals(await a.ref.ask("nap", 50, { timeoutMs: forever }), "woke up");
      await a.ref.tell("nap", 300);
      await until(async () => (await a.stats()).mailbox === 0);
      const start = performance.now();
      await system.stop();
      assert(performance.now() - start > 200, "it was not waited for");
      assertEquals(system.terminated, []);
    }, { graceMs: forever });
    assertEquals(await Deno.readTextFile(hookFile), "second\nfirst\n");
    await Deno.remove(hookFile);
  });
}

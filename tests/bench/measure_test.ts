/** How the benches time contestants against each other, by a clock of the test's own. */
import { assertEquals, assertRejects } from "@std/assert";
import { compare, type Contestant } from "../../bench/measure.ts";

/** A contestant each of whose runs takes the next of some times, in ms, and then the last of them again. */
function takes(name: string, clock: { now: number }, ...times: number[]) {
  const contestant = {
    name,
    dispatches: false,
    runs: 0,
    run() {
      clock.now += times[Math.min(contestant.runs++, times.length - 1)];
    },
    finish: () => Promise.resolve(),
    result: () => Promise.resolve({ sum: [1] }),
  };
  return contestant;
}

/** Runs with `performance.now()` as the clock says. */
async function byClock(work: (clock: { now: number }) => Promise<void>): Promise<void> {
  const clock = { now: 0 };
  const { now } = performance;
  performance.now = () => clock.now;
  try {
    await work(clock);
  } finally {
    performance.now = now;
  }
}

Deno.test("compare() times a contestant in every round whose first run alone is slow", () =>
  byClock(async (clock) => {
    const compiled = takes("compiled", clock, 5000, ...Array(9).fill(100), 110, 110, 110, 120);
    const timings = await compare("work", [takes("quick", clock, 100), compiled], 3);
    assertEquals([timings.compiled.min, timings.compiled.max], [100, 120]);
    assertEquals(compiled.runs, 1 + 1 + 2 + 3 + 3 * 3); // the first, those that calibrate, and three rounds
  }));

Deno.test("compare() times a contestant once that is slow again", () =>
  byClock(async (clock) => {
    const slow = takes("slow", clock, 5000, 3000, 4000);
    const timings = await compare("work", [takes("quick", clock, 100), slow], 3);
    assertEquals(timings.slow, { median: 3000, min: 3000, max: 3000 });
    assertEquals(slow.runs, 2);
  }));

Deno.test("compare() refuses a contestant that dispatches nothing, a slow one too", () =>
  byClock(async (clock) => {
    const lazy: Contestant = { ...takes("lazy", clock, 3000), dispatches: true };
    const work = () => compare("work", [takes("quick", clock, 100), lazy], 3);
    await assertRejects(work, Error, "work: lazy dispatches nothing");
  }));

import { assert, assertEquals } from "@std/assert";
import { Meter } from "../../../actors/runtime/stats.ts";
import type probe from "./fixtures/probe.ts";
import { fixture, sleep, withSystem } from "./helpers.ts";

Deno.test("Meter.read() splits time into busy, waiting and idle, which add up to all of it", async () => {
  const begin = performance.now();
  const meter = new Meter();
  await sleep(30);
  meter.enter();
  await sleep(60);
  await meter.wait(sleep(120));
  meter.leave();
  await sleep(30);
  const { busyMs, waitingMs, idleMs } = meter.read();
  const passed = performance.now() - begin;
  assert(busyMs >= 55, `busy ${busyMs}`);
  assert(waitingMs >= 115, `waiting ${waitingMs}`);
  assert(idleMs >= 55, `idle ${idleMs}`);
  assert(Math.abs(busyMs + waitingMs + idleMs - passed) < 1);
});

Deno.test("Meter.work() is busy time, behind a handler and while another one waits", async () => {
  const meter = new Meter();
  const work = meter.work(sleep(100));
  meter.enter();
  await meter.wait(sleep(60));
  meter.leave();
  await work;
  const { busyMs, waitingMs, idleMs } = meter.read();
  assert(busyMs >= 95, `busy ${busyMs}`);
  assertEquals([waitingMs, idleMs].map(Math.round), [0, 0]);
});

Deno.test("Actor.stats() tells busy time, waits for other actors and what is in flight", () =>
  withSystem(async (system) => {
    const sink = system.spawn<typeof probe>("sink", fixture("probe.ts"), {});
    const stage = system.spawn<typeof probe>("stage", fixture("probe.ts"), {});
    await stage.ready;
    await stage.ref.ask("spin", 100);
    const spun = await stage.stats();
    assert(spun.busyMs >= 100, `busy ${spun.busyMs}`);
    assertEquals(spun.waitingMs, 0);
    assert(spun.startMs > 0);

    const held = stage.ref.ask("askHold", sink.ref);
    await sleep(400);
    const waiting = await stage.stats();
    assert(waiting.waitingMs >= 200, `waiting ${waiting.waitingMs}`);
    assert(waiting.busyMs - spun.busyMs < 200);
    assertEquals(waiting.outgoing, [{ to: "sink", credits: 1, queued: 0, pending: 1 }]);
    assertEquals(waiting.incoming, [{ from: "main", held: 1 }]);

    await sink.ref.tell("open");
    await held;
    const after = await stage.stats();
    assertEquals(after.handled, { spin: 1, askHold: 1 });
    assertEquals(after.incoming, [{ from: "main", held: 0 }]);
  }));

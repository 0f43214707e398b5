import { assert, assertEquals } from "@std/assert";
import { Meter } from "../../../actors/runtime/stats.ts";
import type probe from "./fixtures/probe.ts";
import { fixture, until, withSystem } from "./helpers.ts";

Deno.test("Meter.read() splits time into busy, waiting and idle, which add up to all of it", async () => {
  let now = 1000;
  const meter = new Meter(() => now);
  now += 30;
  meter.enter();
  now += 60;
  const { promise, resolve } = Promise.withResolvers<void>();
  const waiting = meter.wait(promise);
  now += 120;
  resolve();
  await waiting;
  now += 7;
  meter.leave();
  now += 5;
  assertEquals(meter.read(), { busyMs: 67, waitingMs: 120, idleMs: 35 });
  now += 3;
  assertEquals(meter.read(), { busyMs: 67, waitingMs: 120, idleMs: 38 });
  meter.restart();
  now += 2;
  assertEquals(meter.read(), { busyMs: 0, waitingMs: 0, idleMs: 2 });
});

Deno.test("Meter.work() is busy time, behind a handler and while another one waits", async () => {
  let now = 0;
  const meter = new Meter(() => now);
  const [work, wait] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const working = meter.work(() => work.promise);
  meter.enter();
  const waiting = meter.wait(wait.promise);
  now += 60;
  wait.resolve();
  await waiting;
  meter.leave();
  now += 40;
  work.resolve();
  await working;
  assertEquals(meter.read(), { busyMs: 100, waitingMs: 0, idleMs: 0 });
});

Deno.test("Meter.work() is busy time while its beginning keeps the thread, though something is waited for meanwhile", async () => {
  let now = 0;
  const meter = new Meter(() => now);
  meter.enter();
  const { promise, resolve } = Promise.withResolvers<void>();
  const waiting = meter.wait(promise);
  await meter.work(() => {
    now += 60; // as a software device that computes
    return Promise.resolve();
  });
  now += 7;
  resolve();
  await waiting;
  meter.leave();
  assertEquals(meter.read(), { busyMs: 60, waitingMs: 7, idleMs: 0 });
});

Deno.test("Actor.stats() tells busy time, waits for other actors and what is in flight", () =>
  withSystem(async (system) => {
    const sink = system.spawn<typeof probe>("sink", fixture("probe.ts"), {});
    const stage = system.spawn<typeof probe>("stage", fixture("probe.ts"), {});
    await Promise.all([stage.ready, sink.ready]);
    const fresh = await stage.stats();
    await stage.ref.ask("spin", 100);
    const spun = await stage.stats();
    assert(spun.busyMs > fresh.busyMs);
    assertEquals(spun.waitingMs, 0);
    assert(spun.startMs > 0);

    const held = stage.ref.ask("askHold", sink.ref);
    held.catch(() => {}); // awaited below
    // The message has gone, when the sink has given its credits.
    await until(async () => (await stage.stats()).outgoing[0]?.pending === 1);
    await until(async () => (await stage.stats()).waitingMs > 0);
    const waiting = await stage.stats();
    let later = waiting;
    await until(async () => (later = await stage.stats()).waitingMs > waiting.waitingMs);
    assertEquals(later.busyMs, waiting.busyMs, "who waits is not busy");
    assertEquals(waiting.outgoing, [{ to: "sink", credits: 1, queued: 0, pending: 1 }]);
    assertEquals(waiting.incoming, [{ from: "main", held: 1 }]);

    await sink.ref.tell("open");
    await held;
    const after = await stage.stats();
    assertEquals(after.handled, { spin: 1, askHold: 1 });
    assertEquals(after.incoming, [{ from: "main", held: 0 }]);
  }));

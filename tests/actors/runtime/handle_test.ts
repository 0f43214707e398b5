import { assert, assertEquals, assertRejects } from "@std/assert";
import { ActorCrash, ActorStopped, ActorSystem, type Message } from "../../../actors/runtime/mod.ts";
import type gpuActor from "./fixtures/gpu_actor.ts";
import type probe from "./fixtures/probe.ts";
import type source from "./fixtures/ring.ts";
import type stage from "./fixtures/stage.ts";
import { fixture, sleep, until, withSystem } from "./helpers.ts";

/** A grace period that a test would hang in, were it waited for. */
const FOREVER_MS = 3_600_000;

Deno.test("Actor.drain() handles what was sent, refuses more, and lets the actor send on what it holds", () =>
  withSystem(async (system) => {
    const lines: string[] = [];
    const log = system.listen<{ line: Message<string> }>("log", { line: (line) => void lines.push(line) });
    const a = system.spawn<typeof probe>("a", fixture("probe.ts"), { log }, { credits: 3 });
    const b = system.spawn<typeof probe>("b", fixture("probe.ts"), {});
    const held = a.ref.ask("hold");
    await a.ref.tell("note", 1);
    await a.ref.tell("note", 2);
    const waiting = assertRejects(() => a.ref.tell("note", 3), ActorStopped, 'actor "a" is draining');
    const fromB = b.ref.ask("askHold", a.ref);
    await until(async () => (await a.stats()).mailbox === 3);

    let isDrained = false;
    const drained = a.drain().then(() => isDrained = true);
    await waiting; // it never had a credit
    await assertRejects(() => a.ref.tell("note", 4), ActorStopped, "draining");
    await sleep(30);
    assert(!isDrained);
    assertEquals(lines, []);
    await a.ref.tell("open"); // urgent messages are handled to the end
    assertEquals(await held, "held");
    await until(async () => await a.ref.ask("progress") === 2);
    await a.ref.tell("open");
    assertEquals(await fromB, "held"); // it was in the mailbox
    await drained;
    await until(() => lines.length === 1);
    assertEquals(lines, ["drained after 2 notes"]);
    assertEquals(await a.ref.ask("progress"), 2);
  }));

Deno.test("an actor gets Deno's Worker, whatever a package has put in its place since", async () => {
  const own = globalThis.Worker;
  globalThis.Worker = class {
    constructor() {
      throw new Error("this is no Worker of Deno's");
    }
  } as unknown as typeof Worker;
  try {
    await withSystem(async (system) => {
      const actor = system.spawn<typeof probe>("a", fixture("probe.ts"), {});
      assertEquals(await actor.ref.ask("progress"), 0);
    });
  } finally {
    globalThis.Worker = own;
  }
});

Deno.test("Actor.drain() waits for no sender whose Worker was killed", () =>
  withSystem(async (system) => {
    const receiver = system.spawn<typeof probe>("receiver", fixture("probe.ts"), {});
    const supervisor = system.supervise({ strategy: "one-for-one" });
    const sender = supervisor.spawn<typeof probe>("sender", fixture("probe.ts"), () => ({}));
    await sender.ref.ask("sendNotes", { to: receiver.ref, count: 1 });
    sender.actor.kill();
    let isDrained = false;
    receiver.drain().then(() => isDrained = true);
    await until(() => isDrained, 10_000);
  }));

Deno.test("Actor.drain() waits for no actor that was stopped before it read the reference", () =>
  withSystem(async (system) => {
    const [receiver, sender] = ["receiver", "sender"].map((name) =>
      system.spawn<typeof probe>(name, fixture("probe.ts"), {})
    );
    await receiver.ready;
    await Promise.all([
      assertRejects(() => sender.ref.ask("hold"), ActorStopped),
      sender.ref.tell("sendNotes", { to: receiver.ref, count: 1 }),
      until(async () => (await sender.stats()).mailbox === 1).then(() => sender.stop()),
    ]);
    let isDrained = false;
    receiver.drain().then(() => isDrained = true);
    await until(() => isDrained, 10_000);
  }));

Deno.test("Actor.drain() in the order of a pipeline loses no message", () =>
  withSystem(async (system) => {
    const a = system.spawn<typeof source>("a", fixture("ring.ts"), { buffers: 8, bytes: 64 });
    const c = system.spawn<typeof stage>("c", fixture("stage.ts"), { next: a.ref });
    const b = system.spawn<typeof stage>("b", fixture("stage.ts"), { next: c.ref });
    const run = a.ref.ask("run", { count: 300, next: b.ref });
    await until(async () => await a.ref.ask("progress") > 10);
    for (const actor of [a, b, c]) await actor.drain(); // the source's handler is at work until it has sent all
    assertEquals((await run).returned.length, 300);
  }));

Deno.test("Actor.stop() in mid-run ends what waits, on both sides, and runs the hooks, the last one first", async () => {
  const hookFile = await Deno.makeTempFile();
  await withSystem(async (system) => {
    const a = system.spawn<typeof probe>("a", fixture("probe.ts"), { hookFile });
    const asked = a.ref.ask("hold"); // waits in `context.wait`, which rejects then
    await a.ref.tell("note", 1);
    const waiting = a.ref.tell("note", 2);
    await a.ready;
    const stopped = a.stop(); // at once: the grace period is longer than any test
    await assertRejects(() => asked, ActorStopped, 'actor "a" has stopped and accepts no more messages');
    await assertRejects(() => waiting, ActorStopped);
    await stopped;
    assertEquals(await Deno.readTextFile(hookFile), "second\nfirst\n");
    await assertRejects(() => a.ref.tell("note", 3), ActorStopped);
    await assertRejects(() => a.stats(), ActorStopped);
    await assertRejects(() => a.drain(), ActorStopped);
    assertEquals(system.actors.size, 0);
    assertEquals(system.terminated, []);
  }, { graceMs: FOREVER_MS });
  await Deno.remove(hookFile);
});

Deno.test("Actor.stop() ends a handler that waits for another actor at once, and lets go of that one", () =>
  withSystem(async (system) => {
    const a = system.spawn<typeof probe>("a", fixture("probe.ts"), {});
    const b = system.spawn<typeof probe>("b", fixture("probe.ts"), {});
    const asked = assertRejects(() => a.ref.ask("askHold", b.ref), ActorStopped);
    await until(async () => (await b.stats()).incoming.some(({ from, held }) => from === "a" && held === 1));
    await a.stop(); // does not wait for the end of the grace period
    await asked;
    await until(async () => (await b.stats()).incoming.length === 1);
    await b.ref.tell("open"); // b goes on: its reply has nowhere to go
    assertEquals(await b.ref.ask("nap", 1), "woke up");
  }, { graceMs: FOREVER_MS }));

Deno.test("Actor.stop() waits for a handler for its grace period only, and runs the hooks then", async () => {
  const hookFile = await Deno.makeTempFile();
  await withSystem(async (system) => {
    const a = system.spawn<typeof probe>("a", fixture("probe.ts"), { hookFile });
    await a.ready;
    await a.ref.tell("ignoreStop"); // which never ends by itself
    await system.stop();
    assertEquals(system.terminated, []);
  }, { graceMs: 200 });
  assertEquals(await Deno.readTextFile(hookFile), "second\nfirst\n");
  await Deno.remove(hookFile);
});

Deno.test("Actor.stop() terminates a Worker that never awaits, which ends the run of the others", async () => {
  const system = new ActorSystem({ graceMs: 100 });
  await assertRejects(
    () =>
      system.run(async () => {
        const a = system.spawn<typeof probe>("a", fixture("probe.ts"), {});
        const b = system.spawn<typeof probe>("b", fixture("probe.ts"), {});
        await Promise.all([a.ready, b.ready]);
        const waiting = b.ref.ask("sendNotes", { to: a.ref, count: 50 });
        await until(async () => (await a.ref.ask("notes")).length === 50);
        await waiting;
        // Deno (2.9) does not interrupt a Worker that it terminates: without an end, this one would keep a core busy.
        await a.ref.tell("spin", 10_000);
        await Promise.all([b.ref.ask("sendNotes", { to: a.ref, count: 50 }), a.stop()]);
      }),
    ActorCrash,
    'actor "a" crashed: Error: it did not stop in time, and its Worker was terminated',
  );
  assertEquals(system.terminated, ["a"]);
  assertEquals(system.actors.size, 0);
});

Deno.test("Actor.stop() ends a Worker with a live GPU device cleanly, ten times, idle or at work", async (t) => {
  for (let round = 0; round < 10; round++) {
    await t.step(`round ${round + 1}`, () =>
      withSystem(async (system) => {
        const { ref } = system.spawn<typeof gpuActor>(`gpu ${round}`, fixture("gpu_actor.ts"), undefined);
        const bytes = new Uint8Array([round, 2, 3, 4]);
        assertEquals(await ref.ask("roundTrip", bytes.slice()), bytes);
        if (round % 2 === 1) {
          const looped = assertRejects(() => ref.ask("loop"), ActorStopped);
          await sleep(20);
          await system.stop();
          await looped;
        }
        assertEquals(system.terminated, []);
      }));
  }
});

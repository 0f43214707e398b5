import {
  assert,
  assertEquals,
  assertLess,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  ActorCrash,
  type ActorRef,
  ActorStopped,
  type ActorSystem,
  AskTimeout,
  type Handlers,
  type Message,
} from "../../../actors/runtime/mod.ts";
import { describeFailure } from "../../../actors/runtime/failure.ts";
import { type Endpoint, Link, loseIncarnation } from "../../../actors/runtime/ref.ts";
import { Meter } from "../../../actors/runtime/stats.ts";
import type nested from "./fixtures/nested.ts";
import type probe from "./fixtures/probe.ts";
import type { Probe } from "./fixtures/probe.ts";
import type source from "./fixtures/ring.ts";
import type stage from "./fixtures/stage.ts";
import { fixture, sleep, until, withSystem } from "./helpers.ts";

/** A grace period that no machine needs. */
const GRACE_MS = 20_000;

Deno.test("a reference from another thread's system is not taken for one to an actor of this one that has ended", () =>
  withSystem(async (system) => {
    for (const name of ["a", "b"]) {
      const actor = system.spawn<typeof probe>(name, fixture("probe.ts"), {});
      await actor.ready;
      await actor.stop();
    }
    // As many as have lived on this thread.
    const count = 20;
    const { ref } = system.spawn<typeof nested>("nested", fixture("nested.ts"), { count });
    const inner = await ref.ask("inner");
    const answers = await Promise.all(inner.map((one) => one.ask("ping")));
    assertEquals(answers, Array.from({ length: count }, (_, i) => `pong ${i}`));
  }));

Deno.test("ActorRef.tell() keeps the order of 500 messages, and ask() stays behind them", () =>
  withSystem(async (system) => {
    const { ref } = system.spawn<typeof probe>("probe", fixture("probe.ts"), {});
    const sent = Array.from({ length: 500 }, (_, i) => ref.tell("note", i)); // most of them wait for credits
    const notes = await ref.ask("notes");
    assertEquals(notes, Array.from({ length: 500 }, (_, value) => ({ from: "main", value })));
    await Promise.all(sent);
  }));

Deno.test("ActorRef.tell() transfers the buffer of a view, and the reply of ask() brings it back", () =>
  withSystem(async (system) => {
    const { ref } = system.spawn<typeof probe>("probe", fixture("probe.ts"), {});
    const bytes = new Uint8Array([1, 2, 3, 4]);
    const view = bytes.subarray(1, 3);
    const reply = ref.ask("echo", view);
    const echoed = await reply;
    assertEquals(echoed, new Uint8Array([2, 3]));
    assert(bytes.buffer.detached);
    assertEquals(bytes.byteLength, 0);
    const error = await assertRejects(() => ref.ask("echo", bytes), TypeError);
    assertStringIncludes(error.message, 'message "echo" to actor "probe"');
    assertStringIncludes(error.message, "was already sent to another actor");
    assertEquals(await ref.ask("echo", echoed), new Uint8Array([2, 3])); // no credit was lost by that
  }));

Deno.test("ActorRef.tell() copies what an explicit list leaves out", () =>
  withSystem(async (system) => {
    const { ref } = system.spawn<typeof probe>("probe", fixture("probe.ts"), {});
    const bytes = new Uint8Array([1, 2, 3, 4]);
    assertEquals(await ref.ask("echo", bytes, { transfer: [] }), bytes);
    assertEquals(bytes.length, 4);
  }));

for (const credits of [1, 2, 5]) {
  Deno.test(`ActorRef.tell() waits while ${credits} messages are in flight`, () =>
    withSystem(async (system) => {
      const slow = system.spawn<typeof probe>("slow", fixture("probe.ts"), {}, { credits });
      const first = slow.ref.ask("hold"); // takes the first credit
      let sent = 0;
      const tells = Array.from({ length: 20 }, (_, i) => slow.ref.tell("note", i).then(() => sent++));
      await slow.ready;
      await sleep(50);
      assertEquals(sent, credits - 1);
      assertEquals((await slow.stats()).mailbox, credits - 1);
      assertEquals((await slow.stats()).incoming, [{ from: "main", held: credits }]);
      await slow.ref.tell("open");
      assertEquals(await first, "held");
      await Promise.all(tells);
      assertEquals((await slow.ref.ask("notes")).map(({ value }) => value), [...Array(20).keys()]);
    }));
}

Deno.test("ActorRef.tell() between Workers: a slow consumer holds its producer back", () =>
  withSystem(async (system) => {
    const slow = system.spawn<typeof probe>("slow", fixture("probe.ts"), {});
    const producer = system.spawn<typeof probe>("producer", fixture("probe.ts"), {});
    const held = slow.ref.ask("hold");
    const produced = producer.ref.ask("sendNotes", { to: slow.ref, count: 50 });
    await until(async () => (await producer.stats()).outgoing[0]?.queued === 1);
    await sleep(50);
    assertEquals((await producer.stats()).outgoing, [{ to: "slow", credits: 0, queued: 1, pending: 0 }]);
    assertEquals((await slow.stats()).mailbox, 2); // the main thread's ask is at work
    assertEquals(await slow.ref.ask("progress"), 0);
    await slow.ref.tell("open");
    assertEquals(await produced, "slow");
    assertEquals(await held, "held");
    await until(async () => await slow.ref.ask("progress") === 50);
    const notes = await slow.ref.ask("notes");
    assertEquals(notes, Array.from({ length: 50 }, (_, value) => ({ from: "producer", value })));
  }));

Deno.test("MessageContext.defer() keeps the credit until its function is called", () =>
  withSystem(async (system) => {
    const { ref, stats } = bind(system.spawn<typeof probe>("probe", fixture("probe.ts"), {}));
    await ref.tell("keep");
    await ref.tell("keep");
    let isSent = false;
    const third = ref.tell("note", 3).then(() => isSent = true);
    await sleep(50);
    assert(!isSent);
    assertEquals((await stats()).handled, { keep: 2 }); // both handlers have long finished
    await ref.tell("release");
    await third;
    assertEquals((await ref.ask("notes")).length, 1);
  }));

Deno.test("MessageContext.defer() can give the credit back before the handler ends", () =>
  withSystem(async (system) => {
    const { ref, stats } = bind(
      system.spawn<typeof probe>("probe", fixture("probe.ts"), {}, { credits: 1 }),
    );
    await ref.tell("acknowledge"); // now waits for the gate
    await ref.tell("note", 1); // needs the credit
    assertEquals((await stats()).mailbox, 1);
    await ref.tell("open");
    assertEquals((await ref.ask("notes")).length, 1);
  }));

Deno.test("urgent() messages are handled while another handler awaits, and take no credit", () =>
  withSystem(async (system) => {
    const { ref } = system.spawn<typeof probe>("probe", fixture("probe.ts"), {}, { credits: 1 });
    const held = ref.ask("hold");
    const waiting = ref.tell("note", 1);
    for (let i = 0; i < 20; i++) assertEquals(await ref.ask("progress"), 0);
    await ref.tell("open");
    assertEquals(await held, "held");
    await waiting;
  }));

Deno.test("ActorRef.ask() rejects in time, and drops the reply that comes late", () =>
  withSystem(async (system) => {
    const { ref } = system.spawn<typeof probe>("probe", fixture("probe.ts"), {}, { credits: 1 });
    await ref.ask("progress");
    // Nothing answers before the gate is open.
    const error = await assertRejects(() => ref.ask("hold", undefined, { timeoutMs: 50 }), AskTimeout);
    assertEquals(error.message, 'actor "probe" did not answer "hold" within 50 ms');
    assertEquals([error.actor, error.messageName, error.timeoutMs], ["probe", "hold", 50]);
    const second = await assertRejects(() => ref.ask("nap", 1, { timeoutMs: 50 }), AskTimeout); // was not even sent
    assertEquals(second.messageName, "nap");
    await ref.tell("open");
    assertEquals(await ref.ask("nap", 1), "woke up"); // the credit came back with the late reply
    const { handled } = await system.actors.get("probe")!.stats();
    assertEquals([handled.hold, handled.nap], [1, 1]);
  }));

Deno.test("ActorRef can be sent, and leads straight to its actor", () =>
  withSystem(async (system) => {
    const a = system.spawn<typeof probe>("a", fixture("probe.ts"), {});
    const b = system.spawn<typeof probe>("b", fixture("probe.ts"), {});
    assertEquals(await a.ref.ask("sendNotes", { to: b.ref, count: 10 }), "b");
    await until(async () => await b.ref.ask("progress") === 10); // the last two may still be on their way
    const notes = await b.ref.ask("notes");
    assertEquals(notes.length, 10);
    assertEquals(notes[0].from, "a");
    assertEquals((await b.stats()).incoming.map(({ from }) => from), ["main", "a"]);
  }));

Deno.test("ActorRef can come in a reply, and be let go of", () =>
  withSystem(async (system) => {
    const a = system.spawn<typeof probe>("a", fixture("probe.ts"), {});
    const { me } = await a.ref.ask("introduce");
    assertEquals(me.name, "a");
    await me.tell("note", 7);
    assertEquals((await me.ask("notes"))[0].value, 7);
    const held = me.ask("hold");
    me.close();
    await assertRejects(() => held, ActorStopped, 'actor "a" was released and gets no more messages');
    await assertRejects(() => me.tell("note", 8), ActorStopped);
    assertThrows(
      () => system.spawn<typeof stage>("b", fixture("stage.ts"), { next: me as never }),
      ActorStopped,
    );
    // What is left are the main thread's own reference and the one that the actor has of itself.
    await until(async () => (await a.stats()).incoming.length === 2);
    await a.ref.tell("open");
    assertEquals((await a.ref.ask("notes")).length, 1);
  }));

Deno.test("ActorRef cannot be cloned by accident", () =>
  withSystem((system) => {
    const { ref } = system.spawn<typeof probe>("a", fixture("probe.ts"), {});
    assertThrows(() => structuredClone(new Map([["ref", ref]])), DOMException, "could not be cloned");
    return Promise.resolve();
  }));

Deno.test("a message or configuration that cannot be cloned says so, and its references hold up no stop", async () => {
  const start = performance.now();
  await withSystem(async (system) => {
    const listener = system.listen<Probe>("listener", {} as Handlers<Probe>);
    const { ref } = system.spawn<typeof probe>("a", fixture("probe.ts"), {});
    await ref.ask("progress");
    const payload = { to: listener, count: 1, references: new Map([["listener", listener]]) };
    const reason =
      "could not be cloned; functions cannot be sent, and references to actors only in plain objects and " +
      "arrays, not in a Map, a Set or an instance of a class";
    for (const send of [() => ref.tell("sendNotes", payload), () => ref.ask("sendNotes", payload)]) {
      const { name, message } = await assertRejects(send, DOMException);
      assertEquals(name, "DataCloneError");
      assertMatch(message, /^message "sendNotes" to actor "a": /);
      assertStringIncludes(message, reason);
    }
    const config = { log: listener, references: new Set([listener]) } as never;
    assertThrows(() => system.spawn<typeof probe>("b", fixture("probe.ts"), config), DOMException, reason);
  }, { graceMs: GRACE_MS });
  assertLess(performance.now() - start, GRACE_MS);
});

Deno.test("ActorRef.tell() from a Worker reaches a listener on the main thread", () =>
  withSystem(async (system) => {
    const got: number[] = [];
    const listener = system.listen<Pick<Probe, "note">>("listener", {
      note: (value, { from }) => {
        assertEquals(from, "a");
        got.push(value);
      },
    });
    const a = system.spawn<typeof probe>("a", fixture("probe.ts"), {});
    await a.ref.ask("sendNotes", { to: listener as ActorRef<Probe>, count: 100 });
    await until(() => got.length === 100);
    assertEquals(got, [...Array(100).keys()]);
  }));

Deno.test("ActorRef.tell() refuses a message that no handler is there for", async () => {
  const error = await assertRejects(() =>
    withSystem(async (system) => {
      const { ref } = system.spawn<typeof probe>("a", fixture("probe.ts"), {});
      await (ref as unknown as ActorRef<{ toString: Message<void, string> }>).ask("toString");
    })
  );
  assertStringIncludes(
    (error as Error).message,
    'no handler for message "toString" from "main"; known are: note',
  );
});

Deno.test("a ring A -> B -> C -> A returns every message, in the same few buffers, and no credit is lost", () =>
  withSystem(async (system) => {
    const count = 1000;
    const a = system.spawn<typeof source>("a", fixture("ring.ts"), { buffers: 4, bytes: 4096 });
    const c = system.spawn<typeof stage>("c", fixture("stage.ts"), { next: a.ref });
    const b = system.spawn<typeof stage>("b", fixture("stage.ts"), { next: c.ref });
    const result = await a.ref.ask("run", { count, next: b.ref });
    assertEquals(result.returned, [...Array(count).keys()]);
    assertEquals(result.buffers, Array.from({ length: count }, (_, i) => i % 4));
    assert(result.hops.every((hops) => hops === 2));
    assert(!result.wasReadable);
    await until(async () => (await b.stats()).outgoing[0].credits === 2);
    assertEquals((await b.stats()).incoming.map(({ held }) => held), [0, 0]);
  }));

Deno.test("ActorRef takes what its protocol says, or does not compile", () => {
  const uses = (ref: ActorRef<Probe>) => [
    ref.tell("note", 1),
    ref.tell("open"),
    ref.ask("echo", new Uint8Array(1), { transfer: [] }) satisfies Promise<Uint8Array>,
    // @ts-expect-error the payload is a number
    ref.tell("note", "text"),
    // @ts-expect-error the payload is missing
    ref.tell("note"),
    // @ts-expect-error there is no such message
    ref.tell("nod", 1),
    // @ts-expect-error the reply is a list
    ref.ask("notes") satisfies Promise<string>,
  ];
  assertEquals(uses.length, 1);
});

function bind<T extends { stats(): unknown; ref: unknown }>(actor: T): { ref: T["ref"]; stats: T["stats"] } {
  return { ref: actor.ref, stats: actor.stats.bind(actor) };
}

Deno.test("ActorRef that is handed over while its actor ends rejects, on the main thread and in a Worker", async () => {
  const spawnReady = async (system: ActorSystem, name: string) => {
    const actor = system.spawn<typeof probe>(name, fixture("probe.ts"), {});
    await actor.ready;
    return actor;
  };
  const crash = await assertRejects(() =>
    withSystem(async (system) => {
      const received = Promise.withResolvers<ActorRef<Probe>>();
      type Receiver = { take: Message<ActorRef<Probe>> };
      const receiver = system.listen<Receiver>("receiver", { take: (ref) => received.resolve(ref) });
      // The new link's port is on its way to the actor when that closes the link that it comes by.
      const first = await spawnReady(system, "first");
      const firstStopped = first.stop();
      await receiver.tell("take", first.ref);
      const here = await received.promise;
      await assertRejects(() => here.ask("notes", undefined, { timeoutMs: Infinity }), ActorStopped);
      await firstStopped;

      const sender = await spawnReady(system, "sender");
      const second = await spawnReady(system, "second");
      const stopped = second.stop();
      await Promise.all([
        stopped,
        sender.ref.ask("sendNotes", { to: second.ref, count: 10 }, { timeoutMs: Infinity }),
      ]);
    }), ActorCrash);
  assertEquals(crash.actor, "sender");
  assertStringIncludes(
    crash.message,
    'ActorStopped: actor "second" has stopped and accepts no more messages',
  );
});

Deno.test("no error is kept of an actor that has ended, and a link that comes late rejects with one like it", async () => {
  const endpoint: Endpoint = {
    name: "here",
    incarnation: 0,
    meter: new Meter(),
    links: new Set(),
    ended: new Map(),
  };
  const failure = describeFailure(new RangeError("too far"));
  const reasons = [new ActorStopped("first"), new ActorCrash({ actor: "second", failure })];
  for (const [incarnation, reason] of reasons.entries()) loseIncarnation(endpoint, incarnation, reason);
  assert(!endpoint.ended.values().some((kept) => (kept as unknown) instanceof Error));
  for (const [incarnation, { actor, constructor, message }] of reasons.entries()) {
    const { port1, port2 } = new MessageChannel();
    const late = new Link({ actor, incarnation, port: port1 }, endpoint);
    const error = await assertRejects(() => late.tell("note", 1));
    assertEquals([(error as Error).constructor, (error as Error).message], [constructor, message]);
    port2.close();
  }
});

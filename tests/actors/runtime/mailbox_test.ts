import { assert, assertEquals } from "@std/assert";
import { type ActorDefinition, defineActor, type Message } from "../../../actors/runtime/mod.ts";
import { ActorHost } from "../../../actors/runtime/host.ts";
import type { Request, Response } from "../../../actors/runtime/wire.ts";
import type probe from "./fixtures/probe.ts";
import { fixture, sleep, until, withSystem } from "./helpers.ts";

type Notes = { note: Message<number> };

/** An actor on this thread, and a port to it that speaks the wire's language. */
async function openMailbox() {
  const notes: number[] = [];
  const host = new ActorHost({ name: "notes", incarnation: 1, credits: 2 }, (crash) => {
    throw new Error(crash.failure.message);
  });
  const definition = defineActor<Notes>(() => ({ handlers: { note: (value) => void notes.push(value) } }));
  const { port1: port, port2 } = new MessageChannel();
  const received: Response[] = [];
  port.onmessage = (event: MessageEvent<Response>) => received.push(event.data);
  host.mailbox.connect(port2);
  await sleep(10);
  const beforeReady = received.length;
  await host.start(() => Promise.resolve(definition as ActorDefinition<Notes, unknown>), undefined);
  const send = (request: Request, transfer: Transferable[] = []) => port.postMessage(request, transfer);
  const close = async () => {
    await host.stop(0);
    port.close();
  };
  return { host, notes, received, beforeReady, send, close };
}

function note(value: number): Request {
  return { kind: "tell", name: "note", payload: { payload: value, shared: [] } };
}

Deno.test("Mailbox gives the first credits when its actor is ready, and one back for each message", async () => {
  const { notes, received, beforeReady, send, close } = await openMailbox();
  assertEquals(beforeReady, 0);
  await until(() => received.length === 1);
  assertEquals(received, [{ kind: "welcome", credits: 2, urgent: [] }]);
  send(note(1));
  send(note(2));
  await until(() => received.length === 3);
  assertEquals(received.slice(1), [{ kind: "credit" }, { kind: "credit" }]);
  assertEquals(notes, [1, 2]);
  await close();
});

Deno.test("Mailbox.drain() waits for what is still on its way from a sender", async () => {
  const { host, notes, received, send, close } = await openMailbox();
  let isDrained = false;
  const drained = host.drain().then((done) => isDrained = done);
  await until(() => received.at(-1)?.kind === "refuse");
  await sleep(20);
  assert(!isDrained); // the sender has not said yet that nothing comes any more
  send(note(1));
  send({ kind: "last" });
  await drained;
  assert(isDrained);
  assertEquals(notes, [1]);
  await close();
});

Deno.test("Mailbox.drain() does not wait for a sender that has let go", async () => {
  const { host, notes, send, close } = await openMailbox();
  const drained = host.drain();
  send(note(1));
  send({ kind: "close" });
  assert(await drained);
  assertEquals(notes, [1]);
  await close();
});

Deno.test("Mailbox lets go of the references in a message that comes when it is closed, and refuses a new sender", async () => {
  const { host, send, close } = await openMailbox();
  const open = () => {
    const { port1, port2 } = new MessageChannel();
    const received: Response[] = [];
    port1.onmessage = (event: MessageEvent<Response>) => received.push(event.data);
    return { port: port2, received, close: () => port1.close() };
  };
  const [reference, sender] = [open(), open()];
  const shared = [{ actor: "other", incarnation: 2, port: reference.port, path: [] }];
  send({ kind: "tell", name: "note", payload: { payload: null, shared } }, [reference.port]);
  send({ kind: "connect", port: sender.port }, [sender.port]);
  const stopped = host.stop(0);
  await until(() => reference.received.length === 1 && sender.received.length === 1);
  assertEquals<unknown[]>(reference.received, [{ kind: "close" }]);
  assertEquals(sender.received, [{ kind: "down", crash: undefined }]);
  await stopped;
  await close();
  for (const { close } of [reference, sender]) close();
});

Deno.test("a flood of messages waits at its sender, and is handled in order", () =>
  withSystem(async (system) => {
    const actor = system.spawn<typeof probe>("probe", fixture("probe.ts"), {});
    await actor.ready;
    const held = actor.ref.ask("hold");
    const flood = Array.from({ length: 10_000 }, (_, i) => actor.ref.tell("note", i));
    await actor.ref.ask("progress");
    const { mailbox, incoming } = await actor.stats();
    assertEquals([mailbox, incoming[0].held], [1, 2]);
    await actor.ref.tell("open");
    assertEquals(await held, "held");
    await Promise.all(flood);
    const notes = await actor.ref.ask("notes");
    assertEquals(notes.map(({ value }) => value), Array.from(flood, (_, i) => i));
  }));

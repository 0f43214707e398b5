// Actors on the thread of their system: all that is said elsewhere of Workers, but for what only a thread of one's own can do.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  ActorCrash,
  ActorStopped,
  type ActorSystem,
  type SystemOptions,
} from "../../../actors/runtime/mod.ts";
import type crasher from "./fixtures/crasher.ts";
import type forgetful from "./fixtures/forgetful.ts";
import type lateFailure from "./fixtures/late_failure.ts";
import type probe from "./fixtures/probe.ts";
import type { ProbeConfig } from "./fixtures/probe.ts";
import { fixture, sleep, withSystem } from "./helpers.ts";

const ONE = { oneThread: true };
const RUNTIME = new URL("../../../actors/runtime/mod.ts", import.meta.url);

function spawnProbe(system: ActorSystem, name: string, config: ProbeConfig = {}) {
  return system.spawn<typeof probe>(name, fixture("probe.ts"), config);
}

Deno.test("on one thread buffers change hands, references lead to their actors, and messages keep their order", () =>
  withSystem(async (system) => {
    const [first, second] = ["first", "second"].map((name) => spawnProbe(system, name));
    const bytes = Uint8Array.of(1, 2, 3);
    assertEquals(await first.ref.ask("echo", bytes), Uint8Array.of(1, 2, 3));
    assertEquals(bytes.byteLength, 0);
    await first.ref.ask("sendNotes", { to: second.ref, count: 3 });
    const notes = await second.ref.ask("notes");
    assertEquals(notes.map(({ from }) => from), ["first", "first", "first"]);
    assertEquals(notes.map(({ value }) => value), notes.map(({ value }) => value).toSorted((a, b) => a - b));
    assertEquals((await first.stats()).name, "first");
  }, ONE));

Deno.test("on one thread no Worker is made", async () => {
  // In a program of its own, since the runtime keeps the Worker that it finds.
  const program = (options: SystemOptions) => `
globalThis.Worker = class { constructor() { throw new Error("a Worker was made"); } };
const { ActorSystem } = await import(${JSON.stringify(RUNTIME)});
const system = new ActorSystem(${JSON.stringify(options)});
await system.run(() => system.spawn("probe", new URL(${
    JSON.stringify(fixture("probe.ts"))
  }), {}).ref.ask("progress"));`;
  const run = async (options: SystemOptions) => {
    const args = ["eval", "--no-check", program(options)];
    const { code, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
    return { code, stderr: new TextDecoder().decode(stderr) };
  };
  assertEquals(await run(ONE), { code: 0, stderr: "" });
  assertStringIncludes((await run({})).stderr, "a Worker was made");
});

Deno.test("on one thread what an actor throws has its name, and ends the others with their hooks", async () => {
  const hookFile = await Deno.makeTempFile();
  const crash = await assertRejects(() =>
    withSystem(async (system) => {
      const held = spawnProbe(system, "held", { hookFile }).ref.ask("hold");
      await system.spawn<typeof crasher>("bad", fixture("crasher.ts"), {}).ref.ask("throwError");
      await held;
    }, ONE), ActorCrash);
  assertStringIncludes(crash.message, 'actor "bad" crashed: RangeError: the handler broke');
  assertEquals(await Deno.readTextFile(hookFile), "second\nfirst\n");
  await Deno.remove(hookFile);
});

Deno.test("on one thread Actor.stop() and drain() do as in a Worker", () =>
  withSystem(async (system) => {
    const actor = spawnProbe(system, "probe");
    await actor.ref.tell("note", 7);
    await actor.drain();
    assertEquals(await actor.ref.ask("progress"), 1);
    await actor.stop();
    await assertRejects(() => actor.ref.ask("progress"), ActorStopped);
    assertEquals([...system.actors], []);
  }, ONE));

Deno.test("on one thread what an actor did not await is no error of the program when the other ends", () =>
  withSystem(async (system) => {
    const probe = spawnProbe(system, "probe");
    const { ref } = system.spawn<typeof forgetful>("forgetful", fixture("forgetful.ts"), undefined);
    await ref.ask("ask", probe.ref);
    await probe.ref.ask("progress"); // by now the other has asked
    await probe.stop();
    await sleep(50); // the time to hear of it
  }, ONE));

Deno.test("on one thread what fails after its actor has stopped is no error of the program", () =>
  withSystem(async (system) => {
    const late = system.spawn<typeof lateFailure>("late", fixture("late_failure.ts"), undefined);
    await late.ref.tell("begin");
    await sleep(10); // it has begun
    await late.stop();
    await sleep(50); // and has failed
  }, ONE));

import { assert, assertEquals } from "@std/assert";
import type { TraceSpan } from "../../../actors/runtime/mod.ts";
import type probe from "./fixtures/probe.ts";
import { fixture, sleep, until, withSystem } from "./helpers.ts";

Deno.test("onTrace is given what each actor handled and waited for, all of it when the system has stopped", async () => {
  const spans = new Map<string, TraceSpan[]>();
  await withSystem(async (system) => {
    const sink = system.spawn<typeof probe>("sink", fixture("probe.ts"), {});
    const stage = system.spawn<typeof probe>("stage", fixture("probe.ts"), {});
    await stage.ref.ask("spin", 50);
    for (let i = 0; i < 300; i++) await sink.ref.tell("note", i);
    const held = stage.ref.ask("askHold", sink.ref);
    await until(async () => (await stage.stats()).outgoing.some(({ pending }) => pending === 1));
    await sleep(60);
    await sink.ref.tell("open");
    await held;
  }, { onTrace: (actor, some) => spans.set(actor, [...spans.get(actor) ?? [], ...some]) });
  const of = (actor: string, name: string) => spans.get(actor)!.filter((span) => span.name === name);

  const [spin] = of("stage", "spin");
  assertEquals([spin.kind, spin.from], ["message", "main"]);
  assertEquals(of("sink", "note").length, 300);
  const [asked] = of("stage", "askHold");
  const [waited] = of("stage", "hold of sink");
  assertEquals(waited.kind, "wait");
  const [opened] = of("sink", "open");
  // On the clock of all actors: what came first ended first, and what was waited for was there before the wait was over.
  assert(spin.startMs + spin.durationMs <= asked.startMs);
  assert(asked.startMs <= waited.startMs);
  assert(waited.startMs <= opened.startMs && opened.startMs <= waited.startMs + waited.durationMs + 1);
  assert(asked.startMs + asked.durationMs >= waited.startMs + waited.durationMs - 1);
});

import { assert, assertEquals, assertMatch } from "@std/assert";
import { ActorSystem, type Stall } from "../../../actors/runtime/mod.ts";
import type probe from "./fixtures/probe.ts";
import type standstill from "./fixtures/standstill.ts";
import type { Standstill } from "./fixtures/standstill.ts";
import { fixture, sleep, until } from "./helpers.ts";

const PATIENCE_MS = 600;

/** Runs some actors under a watchdog, and returns what it said. */
async function watch(
  provoke: (system: ActorSystem, stalls: readonly Stall[]) => Promise<unknown>,
): Promise<Stall[]> {
  const stalls: Stall[] = [];
  const system = new ActorSystem({
    graceMs: 100,
    watchdog: { patienceMs: PATIENCE_MS, onStall: (stall) => stalls.push(stall) },
  });
  await system.run(() => provoke(system, stalls));
  return stalls;
}

const isSlow = ({ kind }: Stall) => kind === "slow";
const isDeadlock = ({ kind }: Stall) => kind === "deadlock";

function spawn(system: ActorSystem, name: string, startMs?: number) {
  return system.spawn<typeof standstill>(name, fixture("standstill.ts"), startMs).ref;
}

Deno.test("a watchdog names actors that wait for each other, once", async () => {
  const stalls = await watch(async (system, stalls) => {
    const [a, b] = ["a", "b"].map((name) => spawn(system, name));
    // Both are busy until each has been told: one that asks the other before that would be answered.
    const resting = [a, b].map((actor) => actor.ask("rest", PATIENCE_MS / 2));
    await Promise.all([a.tell("meet", b), b.tell("meet", a)]);
    await Promise.all(resting);
    await until(() => stalls.some(isDeadlock));
    await sleep(2 * PATIENCE_MS);
  });
  // On a busy machine an actor may be slow to begin, too.
  const deadlocks = stalls.filter(isDeadlock);
  assertEquals(deadlocks.map(({ kind, actors }) => ({ kind, actors })), [{
    kind: "deadlock",
    actors: ["a", "b"],
  }]);
  assertMatch(
    deadlocks[0].text,
    /^the actors have made no progress for \d s; a: 1 in its mailbox, waits for b; b: 1 in its mailbox, waits for a$/,
  );
});

Deno.test("a watchdog names an actor that computes without ever awaiting", async () => {
  const stalls = await watch(async (system, stalls) => {
    const busy = spawn(system, "busy");
    const other = spawn(system, "other");
    await other.ask("rest", 0);
    busy.ask("compute", 4 * PATIENCE_MS).catch(() => {});
    await until(() => stalls.length > 0);
  });
  assertEquals(stalls[0].kind, "silent");
  assertEquals(stalls[0].actors, ["busy"]);
  assertMatch(stalls[0].text, /^busy has not answered for \d s; busy: .*; other: 0 in its mailbox$/);
});

Deno.test("a watchdog names an actor that is busy with one message for very long, and is quiet before", async () => {
  const stalls = await watch(async (system, stalls) => {
    const slow = spawn(system, "slow");
    slow.ask("rest", 60_000).catch(() => {});
    await until(() => stalls.length > 0);
  });
  assertEquals(stalls.map(({ kind, actors }) => ({ kind, actors })), [{ kind: "slow", actors: ["slow"] }]);
  // As its own clock has it; nothing was said of the time before.
  assert(stalls[0].forMs > 5 * PATIENCE_MS);
});

Deno.test("a watchdog names an actor that starts for very long, also where nobody but the main thread waits for it", async () => {
  const stalls = await watch(async (system, stalls) => {
    spawn(system, "a", 60_000);
    await until(() => stalls.some(isSlow));
  });
  // On a busy machine its Worker may be slow to begin, too.
  const [{ actors, text, forMs }] = stalls.filter(isSlow);
  assertEquals(actors, ["a"]);
  assertMatch(text, /^a has been starting for \d+ s; a: not started yet$/);
  assert(forMs > 5 * PATIENCE_MS);
});

Deno.test("a watchdog says nothing where nothing is to be done", async () => {
  const stalls = await watch(async (system) => {
    const { ready } = system.spawn<typeof probe>("idle", fixture("probe.ts"), {});
    await ready;
    await sleep(3 * PATIENCE_MS);
  });
  assertEquals(stalls, []);
});

Deno.test("a watchdog says nothing of actors that wait for what is outside, or for one that starts or listens", async () => {
  const patient = { timeoutMs: Infinity };
  const [outside, starting, listening] = await Promise.all([
    watch(async (system) => {
      await spawn(system, "outside").ask("waitOutside", 6 * PATIENCE_MS, patient); // longer than a slow one may take
    }),
    watch(async (system) => {
      const starting = spawn(system, "starting", 3 * PATIENCE_MS);
      await spawn(system, "sender").ask("meet", starting, patient);
    }),
    watch(async (system) => {
      const rest = () => sleep(3 * PATIENCE_MS);
      await spawn(system, "sender").ask(
        "meet",
        system.listen<Standstill>("listener", {
          ...{ meet: rest, compute: rest, rest, waitOutside: rest },
        }),
        patient,
      );
    }),
  ]);
  const kinds = (stalls: readonly Stall[]) => stalls.map(({ kind, text }) => `${kind}: ${text}`);
  assertEquals([outside, starting, listening].map(kinds), [[], [], []]);
});

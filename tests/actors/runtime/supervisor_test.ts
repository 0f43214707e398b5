import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  ActorCrash,
  ActorSystem,
  type Restart,
  type RestartHooks,
  type RestartStrategy,
  type Supervisor,
} from "../../../actors/runtime/mod.ts";
import type crasher from "./fixtures/crasher.ts";
import type mortal from "./fixtures/mortal.ts";
import { fixture, until, withSystem } from "./helpers.ts";

/** A supervised actor that counts its incarnations, and says which one it is in when it is asked. */
function spawnMortal(supervisor: Supervisor, name: string, config: { crashesInStart?: number } = {}) {
  let incarnation = 0;
  const actor = supervisor.spawn<typeof mortal>(name, fixture("mortal.ts"), () => {
    incarnation++;
    const crashesInStart = incarnation > 1 && incarnation <= 1 + (config.crashesInStart ?? 0);
    return {
      incarnation,
      startError: crashesInStart ? `incarnation ${incarnation} did not begin` : undefined,
    };
  });
  return {
    incarnation: () => supervisor.retry(() => actor.ref.ask("incarnation")),
    hold: () => supervisor.retry(() => actor.ref.ask("hold")),
    crash: (how: "error" | "same error" | "user error" = "error") => actor.ref.tell("crash", how),
    get ref() {
      return actor.ref;
    },
  };
}

/** Notes what a supervisor does. */
function noteRestarts(): RestartHooks & { notes: string[]; restarts: Restart[] } {
  const notes: string[] = [];
  const restarts: Restart[] = [];
  return {
    notes,
    restarts,
    prepare: ({ actors }) => void notes.push(`prepare ${actors}`),
    resume(restart) {
      notes.push(`resume ${restart.actors}`);
      restarts.push(restart);
    },
  };
}

const EXPECTED: Record<RestartStrategy, { restarted: string; incarnations: number[] }> = {
  "one-for-one": { restarted: "b", incarnations: [1, 2, 1] },
  "rest-for-one": { restarted: "b,c", incarnations: [1, 2, 2] },
  "one-for-all": { restarted: "a,b,c", incarnations: [2, 2, 2] },
};

for (const strategy of Object.keys(EXPECTED) as RestartStrategy[]) {
  Deno.test(`a supervisor restarts ${strategy}, between its hooks`, () =>
    withSystem(async (system) => {
      const { notes, restarts, ...hooks } = noteRestarts();
      const supervisor = system.supervise({ strategy, ...hooks });
      const actors = ["a", "b", "c"].map((name) => spawnMortal(supervisor, name));
      assertEquals(await Promise.all(actors.map((actor) => actor.incarnation())), [1, 1, 1]);
      await actors[1].crash();
      await until(() => restarts.length === 1);
      const { restarted, incarnations } = EXPECTED[strategy];
      assertEquals(notes, [`prepare ${restarted}`, `resume ${restarted}`]);
      assertEquals(await Promise.all(actors.map((actor) => actor.incarnation())), incarnations);
      assertEquals(restarts[0].count, 1);
      assertEquals(restarts[0].crash.message, 'actor "b" crashed: TypeError: incarnation 1 is over');
      assertEquals([...system.actors.keys()].toSorted(), ["a", "b", "c"]);
    }));
}

Deno.test("Supervisor.retry() asks the next incarnation where one ends without an answer", () =>
  withSystem(async (system) => {
    const supervisor = system.supervise({ strategy: "one-for-one" });
    const actor = spawnMortal(supervisor, "a");
    const held = assertRejects(() => actor.ref.ask("hold"), ActorCrash);
    await actor.crash();
    await held;
    assertEquals(await actor.incarnation(), 2);
    const failing = actor.crash();
    const answers = await Promise.all([actor.incarnation(), actor.incarnation(), failing]);
    assertEquals(answers.slice(0, 2), [3, 3]);
  }));

Deno.test("who waits for an actor that crashes hears of the crash, on whichever way the news is first", () =>
  withSystem(async (system) => {
    const supervisor = system.supervise({ strategy: "one-for-one" });
    const actor = supervisor.spawn<typeof mortal>("a", fixture("mortal.ts"), () => ({ incarnation: 1 }));
    const first = actor.actor;
    await first.ready;
    // These come with the thread's own report, an ask's news with a message port: which of the two is first is not known.
    const drained = assertRejects(() => first.drain(), ActorCrash, "incarnation 1 is over");
    first.crash(new TypeError("incarnation 1 is over"));
    await drained;
    await first.ended;
    await assertRejects(() => first.ref.ask("hold"), ActorCrash, "incarnation 1 is over");
  }));

Deno.test("a supervisor that restarts too often gives up, and the run ends with the last crash", async () => {
  const { restarts, ...hooks } = noteRestarts();
  const error = await assertRejects(() =>
    withSystem(async (system) => {
      const supervisor = system.supervise({ strategy: "one-for-one", maxRestarts: 2, ...hooks });
      const actor = spawnMortal(supervisor, "a");
      for (let i = 0; i < 3; i++) {
        await actor.incarnation();
        await actor.crash();
        await until(() => restarts.length === i + 1);
      }
    }), ActorCrash);
  assertEquals(error.message, 'actor "a" crashed: TypeError: incarnation 3 is over');
  assertEquals(restarts.map(({ count }) => count), [1, 2]);
});

/** How often an actor is restarted that crashes so, each time with that progress, where no two restarts are near in time. */
async function crashWith(
  crashes: readonly [how: "error" | "same error", progress: number | undefined][],
  isNested = false,
): Promise<{ repeats: number[]; error?: string }> {
  const { restarts, ...hooks } = noteRestarts();
  let crashed = 0;
  const work = withSystem(async (system) => {
    const supervisor = system.supervise({
      ...{ strategy: "one-for-one", maxRestarts: 2, withinMs: -1, ...hooks },
      progress: ({ actor }) => actor === "a" ? crashes[crashed - 1][1] : 0,
    });
    const a = spawnMortal(isNested ? supervisor.supervise({ strategy: "one-for-all" }) : supervisor, "a");
    for (const [how] of crashes) {
      await a.incarnation();
      crashed++;
      await a.crash(how);
      await until(() => restarts.length === crashed);
    }
  });
  const error = await work.then(() => undefined, (error: Error) => error.message);
  return { repeats: restarts.map(({ repeats }) => repeats), error };
}

Deno.test("a supervisor gives up at the same crash without progress, whatever the time between", async () => {
  const error = 'actor "a" crashed: RangeError: no memory';
  const stuck = Array.from({ length: 9 }, () => ["same error", 7] as ["same error", number]);
  for (const isNested of [false, true]) {
    assertEquals(await crashWith(stuck, isNested), { repeats: [1, 2], error });
  }
  // Who falls back has made no progress, until it is further than it ever was.
  assertEquals(await crashWith([["same error", 7], ["same error", 3], ["same error", 5]]), {
    repeats: [1, 2],
    error,
  });
  const further = [7, 3, 8, 8, 9].map((progress) => ["same error", progress] as ["same error", number]);
  assertEquals(await crashWith(further), { repeats: [1, 2, 1, 2, 1], error: undefined });
  // Other errors in between are no progress, and do not count; nor do crashes of one that has nothing to do.
  assertEquals(await crashWith(stuck.flatMap((crash) => [["error", 7], crash])), {
    repeats: [1, 1, 1, 2, 1],
    error,
  });
  const idle = Array.from({ length: 6 }, () => ["same error", undefined] as ["same error", undefined]);
  assertEquals(await crashWith(idle), { repeats: [1, 1, 1, 1, 1, 1], error: undefined });
});

Deno.test("a supervisor tries again when an actor does not get through its start", () =>
  withSystem(async (system) => {
    const supervisor = system.supervise({ strategy: "one-for-one" });
    const actor = spawnMortal(supervisor, "a", { crashesInStart: 2 });
    await actor.incarnation();
    await actor.crash();
    assertEquals(await actor.incarnation(), 4);
  }));

/** How often an actor is spawned whose starts throw these errors, `""` for none, and what the run ends with. */
async function startWith(
  errors: readonly string[],
  { mayPass, nested = false }: { mayPass?: () => boolean; nested?: boolean } = {},
): Promise<{ incarnations: number; error?: string }> {
  let incarnations = 0;
  const work = withSystem(async (system) => {
    const outer = system.supervise({ strategy: "one-for-one", maxRestarts: 5 });
    const supervisor = nested ? outer.supervise({ strategy: "one-for-all", maxRestarts: 5 }) : outer;
    const actor = supervisor.spawn<typeof mortal>("a", fixture("mortal.ts"), () => {
      incarnations++;
      return { incarnation: incarnations, startError: errors[incarnations - 1] || undefined };
    });
    while (incarnations < errors.length || errors.at(-1) !== "") {
      const incarnation = await outer.retry(() => actor.ref.ask("incarnation"));
      if (incarnation < errors.length) await actor.ref.tell("crash", "error");
      else break;
      await until(() => incarnations > incarnation);
    }
  }, { mayPass });
  const error = await work.then(() => undefined, (error: Error) => error.message);
  return { incarnations, error };
}

Deno.test("a supervisor gives up at the second equal error of an actor that does not get through its start", async () => {
  const typo = 'actor "a" crashed: TypeError: typo';
  const wrong = Array.from({ length: 9 }, () => "typo");
  assertEquals(await startWith(wrong), { incarnations: 2, error: typo });
  assertEquals(await startWith(wrong, { nested: true }), { incarnations: 2, error: typo });
  // Errors that may pass by themselves have all their restarts.
  assertEquals(await startWith(wrong, { mayPass: () => true }), { incarnations: 6, error: typo });
  // Another error, or one of an actor that has worked since, is not the second.
  assertEquals(await startWith(["typo", "lost", "typo", ""]), { incarnations: 4, error: undefined });
  assertEquals(await startWith(["typo", "", "typo", ""]), { incarnations: 4, error: undefined });
});

Deno.test("a supervisor gives up at the second start that takes too long", async () => {
  let incarnations = 0;
  const error = await assertRejects(() =>
    withSystem(async (system) => {
      const supervisor = system.supervise({ strategy: "one-for-all" });
      const actor = supervisor.spawn<typeof crasher>("a", fixture("crasher.ts"), () => {
        incarnations++;
        return { inStart: "hang" };
      }, { startTimeoutMs: 100 });
      await supervisor.retry(() => actor.ref.ask("throwError", undefined, { timeoutMs: Infinity }));
    }, { graceMs: 100 }), ActorCrash);
  assertMatch(error.message, /StartTimeout: actor "a" was not ready within 100 ms/);
  assertEquals(incarnations, 2);
});

Deno.test("a UserError ends the run, whatever the supervisor", async () => {
  const error = await assertRejects(() =>
    withSystem(async (system) => {
      const supervisor = system.supervise({ strategy: "one-for-all" });
      const actor = spawnMortal(supervisor, "a");
      await actor.incarnation();
      await actor.crash("user error");
      await actor.incarnation();
    }), ActorCrash);
  assert(error.isUserError);
  assertEquals(error.failure.message, "the disk is full");
});

Deno.test("what a supervisor within another cannot mend, the outer one does", () =>
  withSystem(async (system) => {
    const { notes, restarts, ...hooks } = noteRestarts();
    const outer = system.supervise({ strategy: "rest-for-one", ...hooks });
    const a = spawnMortal(outer, "a");
    const inner = outer.supervise({ strategy: "one-for-all", maxRestarts: 1 });
    const b = spawnMortal(inner, "b");
    const c = spawnMortal(inner, "c");
    const d = spawnMortal(outer, "d");
    for (const [i, expected] of [[1, 2, 2, 1], [1, 3, 3, 2]].entries()) {
      await c.crash();
      await until(() => restarts.length === i + 1);
      assertEquals(await Promise.all([a, b, c, d].map((actor) => actor.incarnation())), expected);
    }
    assertEquals(notes, ["prepare b,c", "resume b,c", "prepare b,c,d", "resume b,c,d"]);
  }));

Deno.test("restarts of a supervisor within another count among the outer one's, where it has no limit of its own", async () => {
  const counts: number[] = [];
  const error = await assertRejects(() =>
    withSystem(async (system) => {
      const prepare = ({ count }: Restart) => void counts.push(count);
      const outer = system.supervise({ strategy: "rest-for-one", maxRestarts: 2, prepare });
      const a = spawnMortal(outer, "a");
      const b = spawnMortal(outer.supervise({ strategy: "one-for-all" }), "b");
      for (const [i, actor] of [b, a, b].entries()) {
        await actor.crash();
        await until(() => counts.length > i);
        await actor.incarnation();
      }
    }), ActorCrash);
  assertMatch(error.message, /^actor "b" crashed/);
  assertEquals(counts, [1, 2]);
});

Deno.test("a restart that an outer supervisor's restart overtook stands in the way of no other", () =>
  withSystem(async (system) => {
    const gates = Array.from({ length: 3 }, () => Promise.withResolvers<void>());
    gates[1].resolve();
    const prepared: string[] = [];
    const outer = system.supervise({
      strategy: "rest-for-one",
      maxRestarts: 9,
      prepare({ actors }) {
        prepared.push(actors.join());
        return gates[prepared.length - 1]?.promise;
      },
    });
    const a = spawnMortal(outer, "a");
    const inner = outer.supervise({ strategy: "one-for-one" });
    const [b, c] = ["b", "c"].map((name) => spawnMortal(inner, name));
    const incarnations = () =>
      outer.retry(() => Promise.all([a, b, c].map(({ ref }) => ref.ask("incarnation"))));
    assertEquals(await incarnations(), [1, 1, 1]);
    await b.crash();
    await until(() => prepared.length === 1);
    await a.crash();
    await until(() => prepared.length === 2);
    assertEquals(await incarnations(), [2, 2, 2]);
    await b.crash();
    await until(() => prepared.length === 3);

    // The hook of the first restart ends while that of the third one waits, which is to mend the next crash too.
    gates[0].resolve();
    await c.crash();
    await until(() => !system.actors.has("c"));
    gates[2].resolve();
    assertEquals(await incarnations(), [2, 3, 3]);
    assertEquals(prepared, ["b", "a,b,c", "b", "b,c"]);
  }));

Deno.test("what waits within a supervisor that was given up rejects, of an inner supervisor too", () =>
  withSystem(async (system) => {
    const { promise: givenUp, resolve: onGiveUp } = Promise.withResolvers<ActorCrash>();
    const outer = system.supervise({ strategy: "one-for-all", maxRestarts: 0, onGiveUp });
    const inner = outer.supervise({ strategy: "one-for-all" });
    const innermost = inner.supervise({ strategy: "one-for-all" });
    const [a, b] = [spawnMortal(inner, "a"), spawnMortal(innermost, "b")];
    await Promise.all([a.incarnation(), b.incarnation()]);
    const held = [a, b].map((actor) => assertRejects(actor.hold, ActorCrash, "incarnation 1 is over"));
    await b.crash();
    await Promise.all([givenUp, ...held]);
    for (const actor of [a, b]) await assertRejects(actor.incarnation, ActorCrash, "incarnation 1 is over");
    assertEquals(system.actors.size, 0);
  }));

Deno.test("an actor whose Worker is killed is restarted too", () =>
  withSystem(async (system) => {
    const { restarts, ...hooks } = noteRestarts();
    const supervisor = system.supervise({ strategy: "one-for-one", ...hooks });
    const actor = spawnMortal(supervisor, "a");
    await actor.incarnation();
    const held = assertRejects(() => actor.ref.ask("hold"), ActorCrash, "its Worker was killed");
    system.actors.get("a")!.kill();
    await held;
    await until(() => restarts.length === 1);
    assertEquals(await actor.incarnation(), 2);
  }));

Deno.test("an actor that fails because of another one's crash is restarted with it", () =>
  withSystem(async (system) => {
    const { restarts, ...hooks } = noteRestarts();
    const supervisor = system.supervise({ strategy: "rest-for-one", ...hooks });
    const first = spawnMortal(supervisor, "first");
    let incarnation = 0;
    const second = supervisor.spawn<typeof mortal>("second", fixture("mortal.ts"), () => ({
      incarnation: ++incarnation,
      next: first.ref,
    }));
    await second.ref.ask("incarnation");
    await second.ref.tell("crashNext"); // waits for the first one
    await first.crash();
    await until(() => restarts.length === 1);
    assertEquals(restarts[0].actors, ["first", "second"]);
    assertEquals(restarts[0].crash.actor, "first");
    assertEquals(
      await Promise.all([first.incarnation(), supervisor.retry(() => second.ref.ask("incarnation"))]),
      [2, 2],
    );
  }));

Deno.test("a crash while hooks are at work is mended with the one before", () =>
  withSystem(async (system) => {
    const restarted: (readonly string[])[] = [];
    let meddle = true;
    const supervisor = system.supervise({
      strategy: "rest-for-one",
      async prepare({ actors }) {
        restarted.push(actors);
        if (!meddle) return;
        meddle = false;
        await a.crash();
        await a.ref.ask("hold");
      },
    });
    const a = spawnMortal(supervisor, "a");
    const b = spawnMortal(supervisor, "b");
    await Promise.all([a.incarnation(), b.incarnation()]);
    await b.crash();
    await until(() => restarted.length === 2);
    assertEquals(restarted, [["b"], ["a", "b"]]);
    assertEquals(await Promise.all([a.incarnation(), b.incarnation()]), [2, 2]);
  }));

Deno.test("hooks that meet another supervisor's restart leave it to that one, or wait for it", () =>
  withSystem(async (system) => {
    const restarted: string[] = [];
    let meddle: (names: readonly string[], phase: string) => unknown = () => {};
    const outer = system.supervise({
      strategy: "rest-for-one",
      prepare: ({ actors }) => meddle(actors, "prepare") as Promise<void>,
      async resume({ actors }) {
        await meddle(actors, "resume");
        restarted.push(actors.join());
      },
    });
    const a = spawnMortal(outer, "a");
    const b = spawnMortal(outer, "b");
    const inner = outer.supervise({ strategy: "one-for-all", maxRestarts: 3 });
    const c = spawnMortal(inner, "c");
    const d = spawnMortal(inner, "d");
    const incarnations = () =>
      outer.retry(() => Promise.all([a, b, c, d].map((actor) => actor.ref.ask("incarnation"))));
    assertEquals(await incarnations(), [1, 1, 1, 1]);

    // The outer one's hook speaks to d, which the inner one stops meanwhile since c crashed.
    meddle = async (names, phase) => {
      if (phase !== "resume" || !names.includes("b")) return;
      meddle = () => {};
      await c.crash();
      await d.ref.ask("hold");
    };
    await b.crash();
    await until(() => restarted.length === 1, 5000);
    assertEquals(restarted, ["c,d"]);
    assertEquals(await incarnations(), [1, 2, 3, 3]);

    // The inner one's hook asks b, which crashes: the outer one starts all three again.
    meddle = async (names, phase) => {
      if (phase !== "prepare" || names.join() !== "c,d") return;
      await b.crash();
      await b.ref.ask("hold");
    };
    await c.crash();
    await until(() => restarted.length === 2, 5000);
    assertEquals(restarted.at(-1), "b,c,d");
    assertEquals(await incarnations(), [1, 3, 4, 4]);
  }));

Deno.test("an actor whose configuration refers to one that another supervisor restarts waits for that one", () =>
  withSystem(async (system) => {
    const gate = Promise.withResolvers<void>();
    const other = system.supervise({ strategy: "one-for-one", prepare: () => gate.promise });
    const b = spawnMortal(other, "b");
    const { notes, restarts, ...hooks } = noteRestarts();
    let attempts = 0;
    const supervisor = system.supervise({ strategy: "one-for-all", ...hooks });
    const a = spawnMortal(supervisor, "a");
    const dependent = supervisor.spawn<typeof mortal>("dependent", fixture("mortal.ts"), () => {
      attempts++;
      return { incarnation: attempts, next: b.ref };
    });
    const last = spawnMortal(supervisor, "last");
    await Promise.all([b, a, last].map((actor) => actor.incarnation()));
    await b.crash();
    await until(() => !system.actors.has("b"));
    await a.crash();
    await until(() => attempts >= 3, 5000);
    gate.resolve();
    await until(() => restarts.length === 1, 5000);
    // Those that had started in the meantime are told of with the others.
    assertEquals(notes.at(-1), "resume a,dependent,last");
    assertEquals(await Promise.all([b, a, last].map((actor) => actor.incarnation())), [2, 2, 2]);
    assertEquals(await supervisor.retry(() => dependent.ref.ask("incarnation")), attempts);
    assertEquals([...system.actors.keys()].toSorted(), ["a", "b", "dependent", "last"]);
    // A crash of one that has started again is no echo.
    await a.crash();
    assertEquals(await a.incarnation(), 3);
  }));

Deno.test("an actor that crashes while others cannot start yet is restarted with them", () =>
  withSystem(async (system) => {
    const gate = Promise.withResolvers<void>();
    const b = spawnMortal(system.supervise({ strategy: "one-for-one", prepare: () => gate.promise }), "b");
    const supervisor = system.supervise({ strategy: "rest-for-one" });
    const a = spawnMortal(supervisor, "a");
    let attempts = 0;
    supervisor.spawn<typeof mortal>("dependent", fixture("mortal.ts"), () => {
      attempts++;
      return { incarnation: attempts, next: b.ref };
    });
    await Promise.all([b, a].map((actor) => actor.incarnation()));
    await b.crash();
    await until(() => !system.actors.has("b"));
    await a.crash();
    await until(() => attempts >= 2, 5000);
    await until(() => a.ref.ask("incarnation").then((found) => found === 2, () => false), 5000);
    await a.crash();
    await until(() => a.ref.ask("incarnation").then((found) => found === 3, () => false), 5000);
    gate.resolve();
    assertEquals(await a.incarnation(), 3);
    await until(() => system.actors.size === 3, 5000);
  }));

Deno.test("an actor that needs one that was stopped on purpose cannot be restarted, and the run ends", async () => {
  let attempts = 0;
  const error = await assertRejects(() =>
    withSystem(async (system) => {
      const prepare = () => {
        if (++attempts > 1) throw new Error("tried again");
      };
      const supervisor = system.supervise({ strategy: "one-for-one", prepare });
      const needed = supervisor.spawn<typeof mortal>(
        "needed",
        fixture("mortal.ts"),
        () => ({ incarnation: 1 }),
      );
      const config = () => ({ incarnation: 1, next: needed.ref });
      const dependent = supervisor.spawn<typeof mortal>("dependent", fixture("mortal.ts"), config);
      await Promise.all([needed.actor.ready, dependent.actor.ready]);
      await needed.stop();
      await dependent.ref.tell("crash", "error");
      await supervisor.retry(() => dependent.ref.ask("hold"));
    }), ActorCrash);
  assertMatch(error.message, /ActorStopped: actor "needed" has stopped/);
});

Deno.test("a hook that throws ends the run", async () => {
  const error = await assertRejects(() =>
    withSystem(async (system) => {
      const prepare = () => {
        throw new RangeError("there is no way back");
      };
      const actor = spawnMortal(system.supervise({ strategy: "one-for-one", prepare }), "a");
      await actor.crash();
      await actor.incarnation();
    }), ActorCrash);
  assertMatch(error.message, /RangeError: there is no way back/);
});

Deno.test("an unsupervised actor's crash ends supervised ones too, and no restart comes after a stop", async () => {
  const { notes, ...hooks } = noteRestarts();
  const system = new ActorSystem();
  await assertRejects(
    () =>
      system.run(async () => {
        const supervised = spawnMortal(system.supervise({ strategy: "one-for-one", ...hooks }), "a");
        const other = system.spawn<typeof mortal>("other", fixture("mortal.ts"), { incarnation: 1 });
        await Promise.all([supervised.incarnation(), other.ready]);
        await other.ref.tell("crash", "error");
        await supervised.hold();
      }),
    ActorCrash,
    'actor "other" crashed',
  );
  assertEquals(notes, []);
  assertEquals(system.actors.size, 0);
});

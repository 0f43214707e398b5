import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { ActorCrash, ActorStopped, ActorSystem, type SystemOptions } from "../../../actors/runtime/mod.ts";
import { UserError } from "../../../errors.ts";
import type crasher from "./fixtures/crasher.ts";
import type { Crasher, CrasherConfig } from "./fixtures/crasher.ts";
import type { LeakReport } from "./fixtures/leak_main.ts";
import type probe from "./fixtures/probe.ts";
import type source from "./fixtures/ring.ts";
import type stage from "./fixtures/stage.ts";
import { fixture, sleep, withSystem } from "./helpers.ts";

/** Lets an actor crash beside a busy ring, and returns what `run` rejected with; all must be over within four seconds. */
async function crash(
  provoke: (system: ActorSystem) => Promise<unknown>,
  options?: SystemOptions,
): Promise<ActorCrash> {
  const system = new ActorSystem(options);
  const error = await assertRejects(() =>
    system.run(async () => {
      const a = system.spawn<typeof source>("a", fixture("ring.ts"), { buffers: 4, bytes: 64 });
      const c = system.spawn<typeof stage>("c", fixture("stage.ts"), { next: a.ref });
      const b = system.spawn<typeof stage>("b", fixture("stage.ts"), { next: c.ref });
      const idle = system.spawn<typeof probe>("idle", fixture("probe.ts"), {});
      await Promise.all([a.ready, b.ready, c.ready, idle.ready]);
      const run = a.ref.ask("run", { count: 1e9, next: b.ref }, { timeoutMs: Infinity });
      await Promise.all([run, provoke(system), idle.ref.ask("hold")]);
    }), ActorCrash);
  assertEquals(system.actors.size, 0);
  assertEquals(system.terminated, []);
  await assertRejects(() => system.failed, ActorCrash, error.message);
  return error;
}

/** The message that makes a `crasher` crash. */
function crashIn(
  name: Exclude<keyof Crasher, "sendUncloneable" | "askOther">,
  how: "tell" | "ask" = "tell",
): Promise<ActorCrash> {
  return crash((system) => spawnCrasher(system)[how](name));
}

function spawnCrasher(system: ActorSystem, config: CrasherConfig = {}) {
  return system.spawn<typeof crasher>("bad", fixture("crasher.ts"), config).ref;
}

for (const how of ["tell", "ask"] as const) {
  Deno.test(`ActorSystem.run() rejects when a handler throws after a ${how}`, async () => {
    const error = await crashIn("throwError", how);
    assertEquals(error.message, 'actor "bad" crashed: RangeError: the handler broke');
    assertEquals(error.actor, "bad");
    assert(!error.isUserError);
    assertInstanceOf(error.cause, Error);
    assertStringIncludes(error.cause.stack!, "fixtures/crasher.ts");
  });
}

Deno.test("ActorSystem.run() rejects with a UserError as the cause when that is what an actor threw", async () => {
  const error = await crashIn("throwUserError");
  assert(error.isUserError);
  assertInstanceOf(error.cause, UserError);
  assertEquals(error.cause.name, "MissingFileError");
  assertEquals(error.cause.message, "images.tsv: expected a file, found none");
});

Deno.test("ActorSystem.run() rejects when a start throws, with a UserError too", async () => {
  const error = await crash((system) => spawnCrasher(system, { inStart: "throw" }).ask("throwError"));
  assertInstanceOf(error.cause, UserError);
  assertEquals(error.cause.message, "teacher.pth: expected a file, found none");
});

Deno.test("ActorSystem.run() rejects at once when a start returns no handlers", async () => {
  const returned = {
    "() => {}": "undefined",
    "async () => null": "null",
    "() => ({})": "an object without `handlers`",
  };
  for (const [start, found] of Object.entries(returned)) {
    const url = `data:text/javascript,${encodeURIComponent(`export default { start: ${start} };`)}`;
    for (const oneThread of [false, true]) {
      const system = new ActorSystem({ oneThread });
      const error = await assertRejects(
        () => system.run(() => system.spawn("bad", url, {}, { startTimeoutMs: 10_000 }).ready),
        ActorCrash,
      );
      assertEquals(
        error.message,
        `actor "bad" crashed: TypeError: the function passed to defineActor() returned ${found}, expected an object with ` +
          "`handlers`",
      );
    }
  }
});

Deno.test("ActorSystem.run() keeps the causes of an error, and takes text for one", async () => {
  const wrapped = (await crashIn("throwWrapped")).cause as Error;
  assertEquals((wrapped.cause as Error).name, "TypeError");
  assertEquals((wrapped.cause as Error).message, "inner");
  assertStringIncludes((await crashIn("throwText")).message, "just text was thrown");
});

Deno.test("ActorSystem.run() rejects when a timer throws", async () => {
  assertStringIncludes(
    (await crashIn("throwInTimer")).message,
    'actor "bad" crashed: Error: the timer broke',
  );
});

Deno.test("ActorSystem.run() rejects when nobody awaited a promise that rejects", async () => {
  assertStringIncludes((await crashIn("rejectUnseen")).message, 'actor "bad" crashed: Error: nobody saw it');
});

Deno.test("ActorSystem.run() rejects when a Worker exits or closes by itself", async () => {
  assertStringIncludes((await crashIn("exit", "ask")).message, "Deno.exit() was called");
  assertStringIncludes((await crashIn("close", "ask")).message, "self.close() was called");
});

Deno.test("ActorSystem.run() rejects when a reply or a message cannot be cloned", async () => {
  const reply = await crashIn("replyUncloneable", "ask");
  assertEquals([reply.actor, reply.failure.name], ["bad", "DataCloneError"]);
  const message = await crash((system) => {
    const bad = spawnCrasher(system);
    return bad.ask("sendUncloneable", bad);
  });
  assertEquals([message.actor, message.failure.name], ["bad", "DataCloneError"]);
});

Deno.test("ActorSystem.run() blames the actor that crashed, not the one that asked it", async () => {
  const error = await crash((system) => {
    const other = system.spawn<typeof crasher>("other", fixture("crasher.ts"), {});
    return other.ref.ask("askOther", spawnCrasher(system));
  });
  assertEquals(error.message, 'actor "bad" crashed: RangeError: the handler broke');
});

Deno.test("ActorSystem.run() rejects when a module cannot be loaded", async (t) => {
  const load = (url: URL) =>
    crash((system) => system.spawn<typeof crasher>("bad", url, {}).ref.ask("throwError"));
  await t.step("because it throws", async () => {
    const error = await load(fixture("broken_module.ts"));
    assertEquals(error.message, 'actor "bad" crashed: EvalError: the module broke');
    assertStringIncludes((error.cause as Error).stack!, "broken_module.ts");
  });
  await t.step("because it is missing", async () => {
    assertStringIncludes((await load(fixture("no_such_file.ts"))).message, "no_such_file.ts");
  });
  await t.step("because it is no TypeScript", async () => {
    const path = await Deno.makeTempFile({ suffix: ".ts" });
    await Deno.writeTextFile(path, "const x: = 5;");
    assertStringIncludes((await load(new URL(`file://${path}`))).message, "SyntaxError");
    await Deno.remove(path);
  });
  await t.step("because it exports no actor", async () => {
    assertStringIncludes(
      (await load(fixture("not_an_actor.ts"))).message,
      "not_an_actor.ts: expected a default export made by defineActor()",
    );
  });
});

Deno.test("ActorSystem.run() rejects when a start takes too long, and does not wait for it", async () => {
  const error = await crash((system) => {
    const limits = { startTimeoutMs: 100 };
    return system.spawn<typeof crasher>("bad", fixture("crasher.ts"), { inStart: "hang" }, limits).ready;
  }, { graceMs: 100 });
  assertStringIncludes(error.message, 'StartTimeout: actor "bad" was not ready within 100 ms');
});

Deno.test("an actor may take as long as it likes to start, where it is spawned so", () =>
  withSystem(async (system) => {
    const limits = { startTimeoutMs: Infinity };
    const { ready } = system.spawn<typeof crasher>(
      "slow",
      fixture("crasher.ts"),
      { inStart: "hang" },
      limits,
    );
    ready.catch(() => {}); // it is stopped
    await sleep(50);
    assert(system.actors.has("slow"));
  }, { graceMs: 100 }));

Deno.test("ActorSystem.run() rejects when an onStop hook throws, once all is over", async () => {
  const error = await assertRejects(() =>
    withSystem(async (system) => {
      spawnCrasher(system, { inHook: "throw" });
      await system.actors.get("bad")!.ready;
    }), ActorCrash);
  assertEquals(error.message, 'actor "bad" crashed: Error: the hook broke');
});

Deno.test("ActorSystem.run() rejects when a listener on the main thread throws", async () => {
  const error = await crash(async (system) => {
    const sender = system.spawn<typeof probe>("sender", fixture("probe.ts"), {});
    const listener = system.listen<{ note: { payload: number; reply: void } }>("listener", {
      note() {
        throw new Error("the listener broke");
      },
    });
    await sender.ref.ask("sendNotes", { to: listener as never, count: 5 });
  });
  assertEquals(error.message, 'actor "listener" crashed: Error: the listener broke');
});

Deno.test("ActorSystem.stop() lets listeners handle what was sent to them", async () => {
  const got: number[] = [];
  await withSystem(async (system) => {
    const sender = system.spawn<typeof probe>("sender", fixture("probe.ts"), {});
    const listener = system.listen<{ note: { payload: number; reply: void } }>("listener", {
      async note(value) {
        await sleep(20);
        got.push(value);
      },
    }, { credits: 10 });
    await sender.ref.ask("sendNotes", { to: listener as never, count: 10 });
  });
  assertEquals(got, [...Array(10).keys()]);
});

Deno.test("ActorSystem.run() returns what the work returns, and passes on what it throws", async () => {
  const system = new ActorSystem();
  const result = await system.run(async () => {
    const { ref } = system.spawn<typeof probe>("a", fixture("probe.ts"), {});
    return await ref.ask("nap", 1);
  });
  assertEquals(result, "woke up");
  assertEquals(system.actors.size, 0);
  assertThrows(() => system.spawn<typeof probe>("b", fixture("probe.ts"), {}), ActorStopped);

  const other = new ActorSystem();
  await assertRejects(() =>
    other.run(async () => {
      await other.spawn<typeof probe>("a", fixture("probe.ts"), {}).ready;
      throw new RangeError("the work broke");
    }), RangeError);
  assertEquals(other.actors.size, 0);
});

Deno.test("ActorSystem.spawn() moves a port of the configuration, and copies a buffer", async () => {
  const start = "({ port, bytes }) => { port.postMessage(bytes); port.close(); return { handlers: {} }; }";
  const url = `data:text/javascript,${encodeURIComponent(`export default { start: ${start} };`)}`;
  for (const oneThread of [false, true]) {
    await withSystem(async (system) => {
      const { port1, port2 } = new MessageChannel();
      const { promise, resolve } = Promise.withResolvers<unknown>();
      port1.onmessage = ({ data }) => resolve(data);
      const bytes = Uint8Array.of(1, 2);
      system.spawn("writer", url, { port: port2, bytes });
      assertEquals([await promise, bytes], [bytes, Uint8Array.of(1, 2)]);
      port1.close();
    }, { oneThread });
  }
});

Deno.test("ActorSystem.spawn() and listen() refuse credits that nothing could be sent by", () =>
  withSystem((system) => {
    for (const credits of [0, -1, 0.5, NaN, Infinity]) {
      const message = `actor "a": expected a whole number of credits above 0, found ${credits}`;
      assertThrows(() => system.spawn("a", fixture("crasher.ts"), {}, { credits }), RangeError, message);
      assertThrows(() => system.listen("a", {}, { credits }), RangeError, message);
    }
    assertEquals(system.actors.size, 0);
    return Promise.resolve();
  }));

Deno.test("ActorSystem.spawn() wants a name of its own for every actor", () =>
  withSystem(async (system) => {
    await system.spawn<typeof probe>("a", fixture("probe.ts"), {}).ready;
    for (const name of ["a", "main"]) {
      assertThrows(
        () => system.spawn<typeof probe>(name, fixture("probe.ts"), {}),
        Error,
        `there is already an actor "${name}"`,
      );
    }
  }));

Deno.test("ActorSystem stops everything when its signal is aborted, and run() rejects with the reason", async () => {
  const abort = new AbortController();
  const system = new ActorSystem({ signal: abort.signal });
  await assertRejects(
    () =>
      system.run(async () => {
        const a = system.spawn<typeof source>("a", fixture("ring.ts"), { buffers: 4, bytes: 64 });
        const b = system.spawn<typeof stage>("b", fixture("stage.ts"), { next: a.ref });
        const starting = system.spawn<typeof probe>("starting", fixture("probe.ts"), {});
        await a.ready;
        setTimeout(() => abort.abort(new Error("interrupted")), 50);
        await a.ref.ask("run", { count: 1e9, next: b.ref }, { timeoutMs: Infinity });
        await starting.ready;
      }),
    Error,
    "interrupted",
  );
  assertEquals(system.actors.size, 0);
});

/** Runs a fixture as a program. */
async function runProgram(name: string, ...args: string[]): Promise<{ code: number; text: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", fixture(name).href, ...args],
    env: { NO_COLOR: "1" },
  }).output();
  return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

for (
  const [how, code, said] of [
    ["finish", 0, "returned 100"],
    ["crash", 1, 'ActorCrash: actor "bad" crashed: Error: the timer broke'],
    ["abort", 1, "interrupted"],
  ] as const
) {
  Deno.test(`ActorSystem.run() lets a program end by itself, with exit code ${code}: ${how}`, async () => {
    const seen = await runProgram("run_main.ts", how);
    assertStringIncludes(seen.text, said);
    assertEquals(seen.code, code, seen.text);
  });
}

Deno.test("6,000 messages of 128 KiB leave memory flat, and ActorSystem.stop() leaves no thread", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  const { code, text } = await runProgram("leak_main.ts");
  assertEquals(code, 0, text);
  const { ring, threads: [before, during, after] }: LeakReport = JSON.parse(text);
  assertEquals(ring.returned.length, 6000);
  const grown = (ring.rss[1] - ring.rss[0]) / 2 ** 20; // 600 MiB, were the buffers not reused
  assert(grown < 48, `memory grew by ${grown} MiB`);
  assertEquals({ before, during, after }, { before: 0, during: 3, after: 0 });
});

import { assertEquals, assertLess, assertRejects } from "@std/assert";
import { Run } from "../../actors/run.ts";
import { StoppedError } from "../../actors/stopped_error.ts";
import { EmbedRun } from "../../methods/runs.ts";

/** Counts to three, and ends with it or with an error. */
function countToThree(error?: Error): Run<number, string> {
  return new Run(async (tell, signal) => {
    for (const number of [1, 2, 3]) {
      tell(number);
      await new Promise((resolve) => setTimeout(resolve));
      signal.throwIfAborted();
    }
    if (error !== undefined) throw error;
    return "three";
  });
}

Deno.test("Run gives every event to each who iterates from the beginning, and its result", async () => {
  await using run = countToThree();
  const [iterated, streamed] = await Promise.all([Array.fromAsync(run), Array.fromAsync(run.stream())]);
  assertEquals(iterated, [1, 2, 3]);
  assertEquals(streamed, [1, 2, 3]);
  assertEquals(await run.result, "three");
  assertEquals(await Array.fromAsync(run), [], "what nobody iterated is not kept");
});

Deno.test("Run gives all events before the error that it ends with", async () => {
  const run = countToThree(new Error("no four"));
  const seen: number[] = [];
  await assertRejects(
    async () => {
      for await (const event of run) seen.push(event);
    },
    Error,
    "no four",
  );
  assertEquals(seen, [1, 2, 3]);
  await assertRejects(() => run.result, Error, "no four");
});

Deno.test("Run goes on when a loop is left, and ends when it is stopped or goes out of scope", async () => {
  const run = countToThree();
  for await (const event of run) if (event === 1) break;
  assertEquals(await run.result, "three");

  const stopped = countToThree();
  const loop = async () => {
    for await (const event of stopped) if (event === 2) void stopped.stop(new Error("enough"));
  };
  await assertRejects(loop, Error, "enough");
  await assertRejects(() => stopped.result, Error, "enough");

  let disposed: Run<number, string>;
  {
    await using run = countToThree();
    disposed = run;
    await run.stream().values().next();
  }
  await assertRejects(() => disposed.result, DOMException, "the run was stopped");
});

Deno.test("Run is ended by its signal, before it began too", async () => {
  const signal = AbortSignal.abort(new Error("too late"));
  let hasBegun = false;
  const late = new Run<never, void>(() => {
    hasBegun = true;
    return Promise.resolve();
  }, { signal });
  await assertRejects(() => late.result, Error, "too late");
  assertEquals(hasBegun, false);

  const controller = new AbortController();
  const run = new Run<string, void>(async (tell, signal) => {
    tell("begun");
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    throw signal.reason;
  }, { signal: controller.signal });
  for await (const _ of run.stream()) break;
  controller.abort(new Error("time is up"));
  await assertRejects(() => run.result, Error, "time is up");
});

/** Returns the message of the next error that nobody takes. */
async function unhandledError(begin: () => unknown): Promise<string> {
  const unhandled = Promise.withResolvers<unknown>();
  const listener = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    unhandled.resolve(event.reason);
  };
  addEventListener("unhandledrejection", listener);
  try {
    await begin();
    return (await unhandled.promise as Error).message;
  } finally {
    removeEventListener("unhandledrejection", listener);
  }
}

Deno.test("Run keeps no error from a program that neither waits for it nor listens", async () => {
  const fail = () => countToThree(new Error("no four"));
  assertEquals(await unhandledError(fail), "no four");
  const leave = async () => {
    for await (const _ of fail()) break;
  };
  assertEquals(await unhandledError(leave), "no four", "of a loop that was left");
  assertEquals(
    await unhandledError(() => fail().stream().cancel()),
    "no four",
    "of a stream that nobody read",
  );
});

Deno.test("Run leaves an error to who waits for its result when a loop was left", async () => {
  const run = countToThree(new Error("no four"));
  for await (const _ of run) break;
  await assertRejects(() => run.result, Error, "no four");
  await assertRejects(() => Array.fromAsync(run), Error, "no four", "a loop that begins when it has ended");
});

Deno.test("Run lets go of an iterator at once that is left while it waits", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const run = new Run<never, void>(() => promise);
  const events = run[Symbol.asyncIterator]();
  const next = events.next();
  assertEquals(await events.return(), { done: true, value: undefined });
  assertEquals(await next, { done: true, value: undefined });
  resolve();
  await run.result;
});

/** A run that ends when it is stopped, with an error made of the reason. */
function runUntilStopped(end: (reason: unknown) => unknown, signal?: AbortSignal): Run<string, never> {
  return new Run(async (tell, signal) => {
    tell("begun");
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    throw end(signal.reason);
  }, { signal });
}

/** Waits for the first event of a run, and listens no more. */
async function begun(run: Run<string, never>): Promise<void> {
  for await (const _ of run) return;
}

Deno.test("Run.stop() resolves at the end that was asked for, and rejects at any other", async () => {
  for (
    const end of [(reason: unknown) => reason, (reason: unknown) => new StoppedError(reason, "a.pth.tar")]
  ) {
    for (const reason of [undefined, "enough"]) {
      const run = runUntilStopped(end);
      await begun(run);
      await run.stop(reason);
    }
  }
  const controller = new AbortController();
  const aborted = runUntilStopped((reason) => reason, controller.signal);
  await begun(aborted);
  controller.abort("first");
  await aborted.stop("second");

  const noSpace = () => new Error("no space left on device");
  const unsaved = runUntilStopped(noSpace);
  await begun(unsaved);
  await assertRejects(() => unsaved.stop(), Error, "no space left");
  await unsaved.stop(); // it has ended
  await assertRejects(
    async () => {
      await using run = runUntilStopped(noSpace);
      await begun(run);
    },
    Error,
    "no space left",
  );
});

Deno.test("Run.stop() leaves the error of an end to the loop that gets it", async () => {
  const run = runUntilStopped(() => new Error("no space left on device"));
  let stopped: Promise<void> | undefined;
  await assertRejects(
    async () => {
      await using _ = run;
      for await (const _ of run) stopped = run.stop();
    },
    Error,
    "no space left",
  );
  await stopped;
});

/** Leaves a loop after the run has failed in the middle of its body. */
async function leaveLate(run: Run<number, string>, how: "break" | "throw" = "break"): Promise<void> {
  for await (const _ of run) {
    await run.stop(); // it fails of something else, which the loop would get
    if (how === "throw") throw new Error("the body broke");
    break;
  }
}

/** Fails of something else than that it is stopped. */
function failWhenStopped(): Run<number, string> {
  return new Run(async (tell, signal) => {
    tell(1);
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    throw new Error("no space left on device");
  });
}

Deno.test("Run leaves no error to a loop that is left before it gets it", async () => {
  const noSpace = "no space left on device";
  assertEquals(await unhandledError(() => leaveLate(failWhenStopped())), noSpace);
  assertEquals(
    await unhandledError(() => assertRejects(() => leaveLate(failWhenStopped(), "throw"), Error, "body")),
    noSpace,
  );
  const cancelUnread = async () => {
    const run = failWhenStopped();
    const stream = run.stream();
    await moment(); // it has begun
    await run.stop();
    await stream.cancel();
  };
  assertEquals(await unhandledError(cancelUnread), noSpace);
  const leaveBoth = async () => {
    const run = failWhenStopped();
    await Promise.all([leaveLate(run), leaveLate(run)]);
  };
  assertEquals(await unhandledError(leaveBoth), noSpace);
});

Deno.test("Run gives the error that a loop was left without to who stops it or asks for its result", async () => {
  const noSpace = "no space left on device";
  let disposed: Run<number, string>;
  await assertRejects(
    async () => {
      await using run = failWhenStopped();
      disposed = run;
      await leaveLate(run);
    },
    Error,
    noSpace,
  );
  await disposed!.stop(); // it has ended, and the error is known

  const asked = failWhenStopped();
  await leaveLate(asked);
  await assertRejects(() => asked.result, Error, noSpace);
  await asked.stop();

  // Who asked for the result before has the error, and a second loop too.
  const awaited = failWhenStopped();
  const failed = assertRejects(() => awaited.result, Error, noSpace);
  await leaveLate(awaited);
  await failed;
  await awaited.stop();
  const looped = failWhenStopped();
  await Promise.all([leaveLate(looped), assertRejects(() => Array.fromAsync(looped), Error, noSpace)]);
  await looped.stop();

  // The end that was asked for is no error.
  const stopped = runUntilStopped((reason) => reason);
  for await (const _ of stopped) {
    await stopped.stop();
    break;
  }
  await moment();
  await stopped.stop();
});

/** A moment in which work that waits for nothing but promises is done. */
const moment = () => new Promise((resolve) => setTimeout(resolve));

/** An embedding of many batches, whose work waits for nothing but room. */
function embedMany(count: number): { run: EmbedRun; told: () => number } {
  let told = 0;
  const run = new EmbedRun(async (tell) => {
    for (; told < count; told++) {
      const [rows, names, labels] = [[told], [`${told}`], [-1]];
      await tell({ type: "rows", rows, names, labels, embeddings: new Float32Array(2) });
    }
    return { images: told, neighbours: [] };
  });
  return { run, told: () => told };
}

Deno.test("EmbedRun waits for the readers of its rows, and gives them all", async () => {
  const { run, told } = embedMany(1000);
  const reader = run.rows().getReader();
  const seen: number[] = [];
  for (;;) {
    await moment();
    assertLess(told() - seen.length, 16);
    const { done, value } = await reader.read();
    if (done) break;
    seen.push(value.row);
  }
  assertEquals(seen, Array.from({ length: 1000 }, (_, row) => row));
  assertEquals((await run.result).images, 1000);
});

Deno.test("EmbedRun waits neither for a loop, nor for a stream that is cancelled, nor when it is stopped", async () => {
  const looped = embedMany(1000);
  const loop = looped.run[Symbol.asyncIterator]();
  assertEquals((await looped.run.result).images, 1000);
  assertEquals((await Array.fromAsync(loop)).length, 1000);

  const cancelled = embedMany(1000);
  const batches = cancelled.run.batches();
  await moment();
  assertLess(cancelled.told(), 16);
  await batches.cancel();
  assertEquals((await cancelled.run.result).images, 1000);

  const stopped = embedMany(1000);
  const rows = stopped.run.rows();
  await moment();
  assertLess(stopped.told(), 16);
  await stopped.run.stop();
  await rows.cancel();
});

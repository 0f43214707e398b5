import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  chromeTrace,
  kernelShares,
  ProfileCollector,
  sharesOf,
  worstKernels,
} from "../../actors/run_profile.ts";
import type { TraceSpan } from "../../actors/runtime/mod.ts";

/** A trainer of two steps, of which one waits, and a reader that was at work before them and within. */
function collect(): ProfileCollector {
  const collector = new ProfileCollector();
  collector.take("student_trainer", [
    { kind: "message", name: "connect", startMs: 900, durationMs: 10 },
    { kind: "message", name: "train", startMs: 1000, durationMs: 100 },
  ]);
  collector.take("student_trainer", [
    { kind: "wait", name: "contents of queue_keeper", startMs: 1120, durationMs: 30 },
    { kind: "message", name: "train", from: "queue_keeper", startMs: 1100, durationMs: 100 },
  ]);
  collector.take("tsv_reader", [
    { kind: "message", name: "read", startMs: 800, durationMs: 250 },
    { kind: "wait", name: "something to come back", startMs: 850, durationMs: 100 },
  ]);
  collector.take("main", [{ kind: "wait", name: "read of tsv_reader", startMs: 1000, durationMs: 200 }]);
  return collector;
}

Deno.test("sharesOf() splits the time from the first step to the last", () => {
  const shares = sharesOf(collect().result(), { actor: "student_trainer", message: "train" });
  assertEquals(shares, [
    { actor: "tsv_reader", messages: 1, busyMs: 50, waitingMs: 0, totalMs: 200 },
    { actor: "student_trainer", messages: 2, busyMs: 170, waitingMs: 30, totalMs: 200 },
  ]);
  assertEquals(sharesOf(collect().result(), { actor: "nobody", message: "train" }), []);
  // There are runs of more steps than a call takes arguments.
  const steps = Array.from({ length: 200_000 }, (_, i) => ({
    ...{ kind: "message", name: "train", startMs: i, durationMs: 0.5 } as const,
  }));
  const long = { spans: new Map([["student_trainer", steps]]), programs: [] };
  const [{ totalMs }] = sharesOf(long, { actor: "student_trainer", message: "train" });
  assertEquals(totalMs, 199_999.5);
});

/** Feeds a collector in batches, as actors send them, with what every actor did in a step that begins at a moment. */
function collectLong(
  steps: number,
  ofStep: (start: number, step: number) => Record<string, TraceSpan[]>,
): ProfileCollector {
  const collector = new ProfileCollector();
  const waiting = new Map<string, TraceSpan[]>();
  for (let step = 0; step < steps; step++) {
    for (const [actor, spans] of Object.entries(ofStep(1e12 + 10 * step, step))) {
      const list = waiting.get(actor) ?? [];
      list.push(...spans);
      waiting.set(actor, list);
      if (list.length >= 256) collector.take(actor, list.splice(0));
    }
  }
  for (const [actor, list] of waiting) collector.take(actor, list);
  return collector;
}

Deno.test("a profile of very many steps has the totals of all, and keeps the spans of the first ones", () => {
  const steps = 250_000;
  const perEpoch = 10_000;
  const collector = collectLong(steps, (at, step) => ({
    // Works for 6 ms of 10, and waits for 2 ms of them; behind the message it works for one more.
    student_trainer: [
      { kind: "wait", name: "report", startMs: at + 1, durationMs: 2 },
      { kind: "message", name: "train", startMs: at, durationMs: 6 },
      { kind: "work", name: "submit", startMs: at + 5, durationMs: 2 },
    ],
    // One message for an epoch, in which it waits for 9 ms of 10.
    tsv_reader: [
      { kind: "wait", name: "buffers", startMs: at, durationMs: 9 },
      ...(step + 1) % perEpoch !== 0 ? [] : [
        {
          kind: "message",
          name: "read",
          startMs: at + 10 - 10 * perEpoch,
          durationMs: 10 * perEpoch,
        } as const,
      ],
    ],
  }));
  const profile = collector.result();
  const shares = sharesOf(profile, { actor: "student_trainer", message: "train" });
  const totalMs = 10 * steps - 4;
  const [reader, trainer] = ["tsv_reader", "student_trainer"].map((name) =>
    shares.find(({ actor }) => actor === name)!
  );
  assertEquals([trainer.messages, reader.messages], [steps, steps / perEpoch]);
  for (
    const [{ busyMs, waitingMs, totalMs: all }, busy, waiting] of [[trainer, 5, 2], [reader, 1, 9]] as const
  ) {
    assertAlmostEquals(all, totalMs, 1e-3);
    assertAlmostEquals(busyMs / totalMs, busy / 10, 1e-4);
    assertAlmostEquals(waitingMs / totalMs, waiting / 10, 1e-4);
  }
  const { traceEvents, otherData } = chromeTrace(profile);
  const spans = traceEvents.filter(({ ph }) => ph === "X");
  assertEquals(spans.length, 200_000);
  assertEquals(otherData, { spans_left_out: 4 * steps + steps / perEpoch - spans.length });
});

Deno.test("sharesOf() of many steps counts only what lies between the first of them and the last", () => {
  const steps = 60_000;
  const busy = (at: number): TraceSpan[] => [{ kind: "message", name: "embed", startMs: at, durationMs: 10 }];
  const collector = collectLong(3 * steps, (at, step) => ({
    evaluator: busy(at),
    ...Math.floor(step / steps) === 1 && {
      student_trainer: [{ kind: "message", name: "train", startMs: at, durationMs: 10 }],
    },
  }));
  const [evaluator] = sharesOf(collector.result(), { actor: "student_trainer", message: "train" });
  assertAlmostEquals(evaluator.totalMs, 10 * steps, 1e-3);
  assertAlmostEquals(evaluator.busyMs / evaluator.totalMs, 1, 1e-3);
  assertAlmostEquals(evaluator.messages / steps, 1, 1e-3);
});

Deno.test("sharesOf() takes a trace that was gathered elsewhere, however many steps it has", () => {
  const spans = Array.from({ length: 200_000 }, (_, i): TraceSpan => ({
    ...{ kind: "message", name: "train", startMs: i, durationMs: 1 },
  }));
  const profile = { spans: new Map([["student_trainer", spans]]), programs: [] };
  const [{ messages, totalMs }] = sharesOf(profile, { actor: "student_trainer", message: "train" });
  assertEquals([messages, totalMs], [200_000, 200_000]);
});

Deno.test("what goes on behind an actor's messages is at work, and has a row of its own", () => {
  const collector = new ProfileCollector();
  collector.take("teacher_encoder", [
    { kind: "message", name: "encode", startMs: 1000, durationMs: 200 },
    { kind: "wait", name: "enqueue of queue_keeper", startMs: 1050, durationMs: 140 },
    { kind: "work", name: "embedding", startMs: 1000, durationMs: 100 },
  ]);
  const shares = sharesOf(collector.result(), { actor: "teacher_encoder", message: "encode" });
  // Of the wait of 140 ms the work covers 50.
  assertEquals(shares, [{
    actor: "teacher_encoder",
    messages: 1,
    busyMs: 110,
    waitingMs: 90,
    totalMs: 200,
  }]);
  const rows = chromeTrace(collector.result()).traceEvents.filter(({ ph, pid }) => ph === "X" && pid === 1);
  const tids = new Map(rows.map(({ name, tid }) => [name, tid]));
  assertEquals(tids.get("encode"), tids.get("waits: enqueue of queue_keeper"));
  assert(tids.get("embedding") !== tids.get("encode"));
});

Deno.test("chromeTrace() has a row for each actor and each program, in microseconds from the first span", () => {
  const collector = collect();
  collector.add("student_trainer", [{
    program: "step",
    kernels: [
      { label: "conv2d", milliseconds: 2, flops: 10, bytes: 20 },
      { label: "sgd", milliseconds: 1, flops: 0, bytes: 5 },
    ],
  }]);
  const { traceEvents } = chromeTrace(collector.result());
  const rows = traceEvents.filter(({ name }) => name === "thread_name").map(({ args }) => args!.name);
  assertEquals(rows, ["tsv_reader", "student_trainer", "main", "student_trainer: step"]);
  const [first, second] = traceEvents.filter(({ name, ph }) => ph === "X" && name === "train");
  assertEquals([first.ts, first.dur, second.ts], [200_000, 100_000, 300_000]);
  assertEquals(second.args, { from: "queue_keeper" });
  const sgd = traceEvents.find(({ name }) => name === "sgd")!;
  assertEquals([sgd.ts, sgd.dur], [2000, 1000]);
  assert(traceEvents.every(({ ph, ts, dur }) => ph === "M" || (ts! >= 0 && dur! >= 0)));
  assertAlmostEquals(traceEvents.find(({ name }) => name.startsWith("waits: contents"))!.ts!, 320_000);
});

Deno.test("kernelShares() adds up kinds of kernels, and worstKernels() ranks them by the time above the ceilings", () => {
  const collector = new ProfileCollector();
  const kernel = (label: string, milliseconds: number, flops: number, bytes: number) => ({
    ...{ label, milliseconds, flops, bytes },
  });
  collector.add("student_trainer", [{
    program: "step",
    kernels: [
      kernel("conv2d", 2, 100, 10), // 1 ms at least, by its operations
      kernel("conv2d", 4, 100, 300), // 3 ms at least, by its bytes
      kernel("sgd", 5, 0, 200), // 2 ms at least
      kernel("from a cache", 1, 0, 500), // above the ceiling
    ],
  }]);
  const ceilings = { flops: 100_000, bytes: 100_000 };
  const profile = { ...collector.result(), ceilings };
  const sgd = {
    ...{ actor: "student_trainer", program: "step", label: "sgd", dispatches: 1 },
    ...{ milliseconds: 5, flops: 0, bytes: 200, leastMs: 2 },
  };
  const conv2d = {
    ...sgd,
    label: "conv2d",
    dispatches: 2,
    milliseconds: 6,
    flops: 200,
    bytes: 310,
    leastMs: 4,
  };
  assertEquals(kernelShares(profile).slice(0, 2), [conv2d, sgd]);
  assertEquals(worstKernels(profile), [sgd, conv2d]);
  assertEquals(worstKernels(profile, 1), [sgd]);
  assertEquals(chromeTrace(profile).otherData, { ceilings });
  // Without the ceilings nothing can be said of it.
  assertEquals(worstKernels(collector.result()), []);
});

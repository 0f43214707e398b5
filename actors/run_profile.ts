/** Where a run's time goes: what each actor did when, and how long each kernel of each program takes. */
import type { Ceilings } from "../kernels/ceilings.ts";
import type { KernelTime } from "../kernels/profiler.ts";
import type { ProgramProfile } from "./messages.ts";
import type { TraceSpan } from "./runtime/mod.ts";
import { SpanTotals } from "./span_totals.ts";

/** Who waits for all, and is no stage. */
const MAIN_THREAD = "main";

/** Spans of all actors together that are kept as they are: minutes of a run, and a file of some 25 MB. */
const MOST_SPANS = 200_000;

/** Profile of a run. */
export interface RunProfile {
  /** Trace of each actor, by name; of a long run the first 200,000 spans of all actors together. */
  spans: ReadonlyMap<string, readonly TraceSpan[]>;
  /** What all spans of each actor add up to, by name. Default: what `spans` add up to. */
  totals?: ReadonlyMap<string, SpanTotals>;
  /** Time of every kernel on an idle device, measured after the run; empty if the run did not finish. */
  programs: readonly (ProgramProfile & { actor: string })[];
  /** What the adapter does at most, measured after the programs; missing where there are none, or it is too fast for the clock. */
  ceilings?: Ceilings;
}

/** Gathers a {@linkcode RunProfile}. */
export class ProfileCollector {
  readonly #spans = new Map<string, TraceSpan[]>();
  readonly #totals = new Map<string, SpanTotals>();
  #kept = 0;
  readonly #programs: (ProgramProfile & { actor: string })[] = [];

  /** What an actor did. */
  readonly take = (actor: string, spans: readonly TraceSpan[]): void => {
    const known = this.#spans.get(actor) ?? [];
    const totals = this.#totals.get(actor) ?? new SpanTotals();
    this.#spans.set(actor, known);
    this.#totals.set(actor, totals);
    totals.add(spans);
    for (const span of spans.slice(0, MOST_SPANS - this.#kept)) known.push(span);
    this.#kept = Math.min(MOST_SPANS, this.#kept + spans.length);
  };

  /** How long an actor's kernels take. */
  add(actor: string, programs: readonly ProgramProfile[]): void {
    this.#programs.push(...programs.map((program) => ({ actor, ...program })));
  }

  /** Whether any kernels were timed. */
  get hasPrograms(): boolean {
    return this.#programs.length > 0;
  }

  /** All that was given; actors in the order in which each was first busy. */
  result(): RunProfile {
    const totals = [...this.#totals].sort(([, a], [, b]) => a.first - b.first);
    const spans = totals.map(([actor]) => [actor, this.#spans.get(actor)!] as const);
    return { spans: new Map(spans), totals: new Map(totals), programs: this.#programs };
  }
}

/** What the spans of each actor add up to. */
function totalsOf({ spans, totals }: RunProfile): ReadonlyMap<string, SpanTotals> {
  return totals ?? new Map([...spans].map(([actor, list]) => {
    const added = new SpanTotals();
    added.add(list);
    return [actor, added];
  }));
}

/** What an actor answers `profile` with, of what it has under these names; one after the other. */
export async function profileAll(
  programs: Readonly<Record<string, { profile(): Promise<KernelTime[]> } | undefined>>,
): Promise<ProgramProfile[]> {
  const profiles: ProgramProfile[] = [];
  for (const [program, profiled] of Object.entries(programs)) {
    if (profiled !== undefined) profiles.push({ program, kernels: await profiled.profile() });
  }
  return profiles;
}

/** How an actor spent its time. */
export interface ActorShare {
  /** Name of the actor. */
  actor: string;
  /** Messages handled. */
  messages: number;
  /** Time in a handler but not waiting for another actor, or with work that continues after a handler, in ms. */
  busyMs: number;
  /** Time in a handler spent waiting for another actor (for a credit, a reply or an empty buffer), in ms. */
  waitingMs: number;
  /** Length of the interval, in ms. */
  totalMs: number;
}

/**
 * Returns how each actor spent its time between the start of the first step and the end of the last. The start of the
 * Workers is not included.
 *
 * @param clock actor and message that mark a step
 * @param skipped number of first steps to leave out, of those whose spans are kept
 */
export function sharesOf(
  profile: RunProfile,
  clock: { actor: string; message: string },
  skipped = 0,
): ActorShare[] {
  const totals = totalsOf(profile);
  const steps = (profile.spans.get(clock.actor) ?? [])
    .filter(({ kind, name }) => kind === "message" && name === clock.message)
    .toSorted((a, b) => a.startMs - b.startMs)
    .slice(skipped);
  const end = totals.get(clock.actor)?.lastEnd(clock.message);
  if (steps.length === 0 || end === undefined) return [];
  const begin = steps[0].startMs;
  return [...totals].filter(([actor]) => actor !== MAIN_THREAD)
    .map(([actor, all]) => ({ actor, ...all.between(begin, end), totalMs: end - begin }));
}

/** A kind of kernel of a program, all of its dispatches together. */
export interface KernelShare {
  /** Actor that it belongs to. */
  actor: string;
  /** Program of that actor. */
  program: string;
  /** Label, such as `conv2d 3x3`. */
  label: string;
  /** Dispatches of one run. */
  dispatches: number;
  /** Time of one run, in ms. */
  milliseconds: number;
  /** Floating-point operations of products, of one run. */
  flops: number;
  /** Bytes of one run. */
  bytes: number;
  /** The least time that the adapter's ceilings allow, in ms: for its operations or for its bytes, what is longer. */
  leastMs: number;
}

/** Returns what each kind of kernel takes in a run of its program, and could take at least; the longest first. */
export function kernelShares({ programs, ceilings }: RunProfile): KernelShare[] {
  return programs.flatMap(({ actor, program, kernels }) =>
    [...Map.groupBy(kernels, ({ label }) => label)].map(([label, times]): KernelShare => {
      const sum = (amount: (time: KernelTime) => number) =>
        times.reduce((all, time) => all + amount(time), 0);
      return {
        ...{ actor, program, label, dispatches: times.length },
        milliseconds: sum((time) => time.milliseconds),
        flops: sum((time) => time.flops),
        bytes: sum((time) => time.bytes),
        leastMs: sum((time) => leastMs(time, ceilings)),
      };
    })
  ).toSorted((a, b) => b.milliseconds - a.milliseconds);
}

function leastMs({ flops, bytes }: KernelTime, ceilings: Ceilings | undefined): number {
  return ceilings === undefined ? 0 : 1000 * Math.max(flops / ceilings.flops, bytes / ceilings.bytes);
}

/** Returns the kinds of kernels that lose most time against the adapter's ceilings, the worst first. */
export function worstKernels(profile: RunProfile, count = 3): KernelShare[] {
  if (profile.ceilings === undefined) return [];
  const lost = ({ milliseconds, leastMs }: KernelShare) => milliseconds - leastMs;
  return kernelShares(profile).filter((kernel) => lost(kernel) > 0)
    .toSorted((a, b) => lost(b) - lost(a))
    .slice(0, count);
}

/** An event of Chrome's trace format. */
export interface TraceEvent {
  /** Name to show. */
  name: string;
  /** `X`: an interval; `M`: the name of a row. */
  ph: "X" | "M";
  /** Group of rows. */
  pid: number;
  /** Row. */
  tid: number;
  /** Start, in microseconds. */
  ts?: number;
  /** Duration, in microseconds. */
  dur?: number;
  /** Category. */
  cat?: string;
  /** Details, shown on a click. */
  args?: Record<string, unknown>;
}

const ACTORS = 1;
const KERNELS = 2;

/**
 * Returns the profile as a trace for `chrome://tracing`, Perfetto or speedscope. It has a row per actor, with the
 * messages it handled and its waits, and a row per program, with the kernels of one run. Spans that were not kept are counted in
 * `otherData`.
 */
export function chromeTrace(
  profile: RunProfile,
): { traceEvents: TraceEvent[]; otherData?: Record<string, unknown> } {
  const { spans, programs, ceilings } = profile;
  const all = spans.values().flatMap((list) => list);
  const begin = all.reduce((least, { startMs }) => Math.min(least, startMs), Infinity);
  const named = (pid: number, tid: number, kind: string, name: string): TraceEvent => ({
    name: kind,
    ph: "M",
    pid,
    tid,
    args: { name },
  });
  const traceEvents = [
    named(ACTORS, 0, "process_name", "actors"),
    named(KERNELS, 0, "process_name", "kernels of one run, alone on the device"),
  ];
  for (const [tid, [actor, list]] of [...spans].entries()) {
    const workTid = spans.size + tid; // a row of its own: it does not end with the message
    traceEvents.push(named(ACTORS, tid, "thread_name", actor));
    if (list.some(({ kind }) => kind === "work")) {
      traceEvents.push(named(ACTORS, workTid, "thread_name", `${actor}: after its messages`));
    }
    for (const { kind, name, from, startMs, durationMs } of list) {
      traceEvents.push({
        name: kind === "wait" ? `waits: ${name}` : name,
        cat: kind,
        ph: "X",
        pid: ACTORS,
        tid: kind === "work" ? workTid : tid,
        ts: 1000 * (startMs - begin),
        dur: 1000 * durationMs,
        ...from === undefined ? {} : { args: { from } },
      });
    }
  }
  for (const [tid, { actor, program, kernels }] of programs.entries()) {
    traceEvents.push(named(KERNELS, tid, "thread_name", `${actor}: ${program}`));
    let ts = 0;
    for (const { label, milliseconds, flops, bytes } of kernels) {
      const dur = 1000 * milliseconds;
      traceEvents.push({
        name: label,
        cat: "kernel",
        ph: "X",
        pid: KERNELS,
        tid,
        ts,
        dur,
        args: { flops, bytes },
      });
      ts += dur;
    }
  }
  const leftOut = totalsOf(profile).entries()
    .reduce((sum, [actor, { count }]) => sum + count - (spans.get(actor)?.length ?? 0), 0);
  const otherData = { ...ceilings && { ceilings }, ...leftOut > 0 && { spans_left_out: leftOut } };
  return { traceEvents, ...Object.keys(otherData).length > 0 && { otherData } };
}

/** Where a run's time goes: what each actor did when, and how long each kernel of each program takes. */
import type { KernelTime } from "../kernels/profiler.ts";
import type { ProgramProfile } from "./messages.ts";
import type { TraceSpan } from "./runtime/mod.ts";

/** Who waits for all, and is no stage. */
const MAIN_THREAD = "main";

/** What a run that is profiled gives. */
export interface RunProfile {
  /** What every actor did, by its name. */
  spans: ReadonlyMap<string, readonly TraceSpan[]>;
  /** Every kernel's time on an idle device, after the run; empty where the run did not come to its end. */
  programs: readonly (ProgramProfile & { actor: string })[];
}

/** Gathers a {@linkcode RunProfile}. */
export class ProfileCollector {
  readonly #spans = new Map<string, TraceSpan[]>();
  readonly #programs: (ProgramProfile & { actor: string })[] = [];

  /** What an actor did. */
  readonly take = (actor: string, spans: readonly TraceSpan[]): void => {
    const known = this.#spans.get(actor);
    if (known === undefined) this.#spans.set(actor, [...spans]);
    else known.push(...spans);
  };

  /** How long an actor's kernels take. */
  add(actor: string, programs: readonly ProgramProfile[]): void {
    this.#programs.push(...programs.map((program) => ({ actor, ...program })));
  }

  /** All that was given; actors in the order in which each was first busy. */
  result(): RunProfile {
    const firstOf = (spans: readonly TraceSpan[]) =>
      spans.reduce((first, { startMs }) => Math.min(first, startMs), Infinity);
    const spans = [...this.#spans].sort(([, a], [, b]) => firstOf(a) - firstOf(b));
    return { spans: new Map(spans), programs: this.#programs };
  }
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
  /** Its name. */
  actor: string;
  /** Messages that were handled. */
  messages: number;
  /** At work: in a handler, and not waiting for another actor, or with work behind one. */
  busyMs: number;
  /** In a handler, waiting for another actor: for a credit, a reply or an empty buffer. */
  waitingMs: number;
  /** Length of the stretch that this is about. */
  totalMs: number;
}

/**
 * How each actor spent the time from the first step's beginning to the last one's end, so that the start of the Workers
 * does not count.
 *
 * @param clock the actor and the message that a step is
 * @param skipped steps at the beginning that are left out
 */
export function sharesOf(
  { spans }: RunProfile,
  clock: { actor: string; message: string },
  skipped = 0,
): ActorShare[] {
  const steps = (spans.get(clock.actor) ?? [])
    .filter(({ kind, name }) => kind === "message" && name === clock.message)
    .toSorted((a, b) => a.startMs - b.startMs)
    .slice(skipped);
  if (steps.length === 0) return [];
  const begin = Math.min(...steps.map(({ startMs }) => startMs));
  const end = Math.max(...steps.map(({ startMs, durationMs }) => startMs + durationMs));
  const inside = ({ startMs, durationMs }: TraceSpan) =>
    Math.max(0, Math.min(end, startMs + durationMs) - Math.max(begin, startMs));
  return [...spans].filter(([actor]) => actor !== MAIN_THREAD).map(([actor, all]) => {
    const total = (...kinds: TraceSpan["kind"][]) =>
      lengthOfUnion(all.filter((span) => kinds.includes(span.kind) && inside(span) > 0), begin, end);
    // Who waits while work goes on is at work.
    const waitingMs = total("wait", "work") - total("work");
    const messages = all.filter((span) => span.kind === "message" && inside(span) > 0).length;
    return {
      actor,
      messages,
      busyMs: Math.max(0, total("message", "work") - waitingMs),
      waitingMs,
      totalMs: end - begin,
    };
  });
}

/** Length of what some spans cover between two moments; what several cover counts once. */
function lengthOfUnion(spans: readonly TraceSpan[], begin: number, end: number): number {
  let length = 0;
  let covered = begin;
  for (const { startMs, durationMs } of spans.toSorted((a, b) => a.startMs - b.startMs)) {
    const from = Math.max(covered, startMs);
    const to = Math.min(end, startMs + durationMs);
    if (to <= from) continue;
    length += to - from;
    covered = to;
  }
  return length;
}

/** An event of Chrome's trace format. */
export interface TraceEvent {
  /** What is shown. */
  name: string;
  /** A stretch of time, or a name for a row. */
  ph: "X" | "M";
  /** Group of rows. */
  pid: number;
  /** Row. */
  tid: number;
  /** Beginning, in microseconds. */
  ts?: number;
  /** Length, in microseconds. */
  dur?: number;
  /** Kind of stretch. */
  cat?: string;
  /** What a click shows. */
  args?: Record<string, unknown>;
}

const ACTORS = 1;
const KERNELS = 2;

/**
 * The profile as a trace for `chrome://tracing`, Perfetto or speedscope: a row for each actor with what it handled and
 * what it waited for, and a row for each program with the kernels of one run.
 */
export function chromeTrace({ spans, programs }: RunProfile): { traceEvents: TraceEvent[] } {
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
      traceEvents.push(named(ACTORS, workTid, "thread_name", `${actor}: behind its messages`));
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
  return { traceEvents };
}

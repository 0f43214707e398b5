/** Timing several implementations against each other in one run. */

/** Values by what they are, e.g. `dw`; every contestant gives the same names in the same layout. */
export type Results = Record<string, ArrayLike<number>>;

/** What is timed. */
export interface Timed {
  name: string;
  /** Whether its work is dispatched to the device, which is then checked; `true` by default. */
  dispatches?: boolean;
  /** Queues the work once. */
  run(): void | Promise<void>;
  /** Waits until everything queued is done. */
  finish(): Promise<void>;
  /** Frees what was made for this work. */
  dispose?(): void;
}

/** One way of doing a piece of work. */
export interface Contestant extends Timed {
  /** Everything that the work computes, by name, for the comparison that comes before the timing. */
  result(): Promise<Results>;
}

/** Milliseconds of one `run`, over the rounds. */
export interface Timing {
  median: number;
  min: number;
  max: number;
}

/** By the contestant's name. */
export type Timings = Record<string, Timing>;

/** A round lasts about this long, in ms, so that the wait for the device at its end (some 10 ms) counts little. */
const ROUND_MS = 250;

/** What takes longer than this, in ms, when its kernels are compiled, is timed once only. */
const SLOW_MS = 2000;

/** Repetitions of one round at most, however quick they are. */
const MOST_REPETITIONS = 2048;

let dispatches = 0;
const dispatchWorkgroups = GPUComputePassEncoder.prototype.dispatchWorkgroups;
GPUComputePassEncoder.prototype.dispatchWorkgroups = function (...workgroups) {
  dispatches++;
  return dispatchWorkgroups.apply(this, workgroups);
};

/** The middle value, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * What is the first to differ, by more than a thousandth of the largest value or by more than what `tolerances` allows the
 * part of that name; `undefined` where nothing does.
 */
export function findDifference(
  wanted: Results,
  found: Results,
  tolerances: Readonly<Record<string, number>> = {},
): string | undefined {
  for (const [part, expected] of Object.entries(wanted)) {
    const values = found[part];
    const tolerance = tolerances[part] ?? 1e-3;
    const largest = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    if (values?.length !== expected.length) {
      return `${values?.length} values of ${part} instead of ${expected.length}`;
    }
    for (let i = 0; i < expected.length; i++) {
      if (Math.abs(values[i] - expected[i]) <= tolerance * largest) continue;
      return `${part}[${i}] is ${values[i]} instead of ${expected[i]}, where the largest is ${largest}`;
    }
  }
}

/**
 * The contestants that agree with the first, this project. One that differs is left out where another agrees, since it is
 * the one that is wrong then.
 *
 * @throws {Error} where none agrees
 */
function agreeing(
  what: string,
  contestants: readonly Contestant[],
  results: ReadonlyMap<string, Results>,
  tolerances?: Readonly<Record<string, number>>,
): Contestant[] {
  const [first, ...others] = contestants;
  const differences = others.map(({ name }) =>
    findDifference(results.get(first.name)!, results.get(name)!, tolerances)
  );
  const agreed = others.filter((_, i) => differences[i] === undefined);
  for (const [i, difference] of differences.entries()) {
    if (difference === undefined) continue;
    const text = `${what}: with ${others[i].name} ${difference}`;
    if (agreed.length === 0) throw new Error(text);
    console.log(`left out, since ${agreed.map(({ name }) => name).join(", ")} agrees with ours: ${text}`);
    others[i].dispose?.();
  }
  return [first, ...agreed];
}

async function timeRound(contestant: Timed, repetitions: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < repetitions; i++) await contestant.run();
  await contestant.finish();
  return performance.now() - start;
}

/** Dispatches that a piece of work leads to. */
async function countDispatches(work: () => Promise<unknown>): Promise<number> {
  const before = dispatches;
  await work();
  return dispatches - before;
}

/**
 * Finds how many repetitions fill a round of a contestant that has run before. For a slow one it returns what a run took
 * instead, which is its time then.
 *
 * Fails when two do not dispatch twice what one does: a lazy library drops work whose result nobody reads, and would then
 * be timed for work that it never did. Of a slow one, one run has to dispatch something.
 */
async function calibrate(
  what: string,
  contestant: Timed,
): Promise<{ repetitions: number } | { slowMs: number }> {
  const { name, dispatches: isChecked = true } = contestant;
  const wait = await countDispatches(() => contestant.finish());
  let time = 0;
  const one = await countDispatches(async () => time = await timeRound(contestant, 1)) - wait;
  if (isChecked && one < 1) throw new Error(`${what}: ${name} dispatches nothing`);
  if (time > SLOW_MS) return { slowMs: time };
  let repetitions = 2;
  const two = await countDispatches(async () => time = await timeRound(contestant, repetitions)) - wait;
  if (isChecked && two !== 2 * one) {
    throw new Error(`${what}: ${name} dispatches ${one} times for one run and ${two} for two`);
  }
  while (time < ROUND_MS && repetitions < MOST_REPETITIONS) {
    const growth = Math.min(8, Math.max(1.5, ROUND_MS / time));
    repetitions = Math.min(MOST_REPETITIONS, Math.ceil(repetitions * growth));
    time = await timeRound(contestant, repetitions);
  }
  if (time > 2 * ROUND_MS) repetitions = Math.max(1, Math.ceil(repetitions * ROUND_MS / time));
  return { repetitions };
}

/**
 * Checks that all agree, leaving out who is wrong, then times them in turn (A B C A B C ...), so that a change of
 * the machine's speed hits all. What takes seconds is timed once, before.
 *
 * @param agree whether all compute the same, so that their results are compared
 * @param beside what is timed with them, and computes something else
 */
export async function compare(
  what: string,
  entered: readonly Contestant[],
  rounds: number,
  tolerances?: Readonly<Record<string, number>>,
  { agree = true, beside = [] }: { agree?: boolean; beside?: readonly Timed[] } = {},
): Promise<Timings> {
  const results = new Map<string, Results>();
  for (const contestant of entered) {
    await timeRound(contestant, 1); // compiles, which says nothing of how long a run takes
    if (agree) results.set(contestant.name, await contestant.result());
  }
  for (const timed of beside) await timeRound(timed, 1);
  const contestants = [...agree ? agreeing(what, entered, results, tolerances) : entered, ...beside];

  const times = new Map<string, number[]>();
  const repeated: { contestant: Timed; repetitions: number }[] = [];
  for (const contestant of contestants) {
    const found = await calibrate(what, contestant);
    times.set(contestant.name, "slowMs" in found ? [found.slowMs] : []);
    if ("repetitions" in found) repeated.push({ contestant, ...found });
  }
  for (let round = 0; round < rounds; round++) {
    for (const { contestant, repetitions } of repeated) {
      times.get(contestant.name)!.push(await timeRound(contestant, repetitions) / repetitions);
    }
  }
  for (const contestant of contestants) contestant.dispose?.();
  return Object.fromEntries([...times].map(([name, values]) => [name, {
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
  }]));
}

/** The geometric mean. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** How many times faster than another: medians, and the range that both spreads allow. */
export function ratioOf(ours: Timing, other: Timing): { median: number; least: number; most: number } {
  return { median: other.median / ours.median, least: other.min / ours.max, most: other.max / ours.min };
}

/** A ratio, as it is shown. */
export function times(ratio: number): string {
  return `${ratio.toFixed(ratio < 10 ? 1 : 0)}x`;
}

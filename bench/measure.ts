/** Timing several implementations against each other in one run. */

/** One way of doing a piece of work. */
export interface Contestant {
  name: string;
  /** Queues the work once. */
  run(): void | Promise<void>;
  /** Waits until everything queued is done. */
  finish(): Promise<void>;
  /** Some values of the result, for the comparison that comes before the timing. */
  result(): Promise<ArrayLike<number>>;
  /** Frees what was made for this work. */
  dispose?(): void;
}

/** Median milliseconds of one `run` by name. */
export type Medians = Map<string, number>;

/** A round lasts at least this long, in ms, so that the wait for the device at its end does not count. */
const ROUND_MS = 250;

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Fails when two results differ by more than a thousandth of the largest value. */
export function expectAgreement(what: string, results: ReadonlyMap<string, ArrayLike<number>>): void {
  const [[first, expected], ...others] = results;
  const largest = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (const [name, values] of others) {
    if (values.length !== expected.length) {
      throw new Error(`${what}: ${name} gives ${values.length} values, ${first} ${expected.length}`);
    }
    for (let i = 0; i < expected.length; i++) {
      if (Math.abs(values[i] - expected[i]) <= 1e-3 * largest) continue;
      throw new Error(`${what}: value ${i} is ${values[i]} with ${name} and ${expected[i]} with ${first}`);
    }
  }
}

async function timeRound(contestant: Contestant, repetitions: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < repetitions; i++) await contestant.run();
  await contestant.finish();
  return performance.now() - start;
}

/** Checks that all agree, then times them in turn (A B C A B C ...), so that a change of the machine's speed hits all. */
export async function compare(
  what: string,
  contestants: readonly Contestant[],
  rounds: number,
): Promise<Medians> {
  const results = new Map<string, ArrayLike<number>>();
  for (const contestant of contestants) {
    await contestant.run();
    results.set(contestant.name, await contestant.result());
  }
  expectAgreement(what, results);

  const repetitions = new Map<string, number>();
  for (const contestant of contestants) {
    await timeRound(contestant, 1); // warm
    const once = await timeRound(contestant, 1);
    repetitions.set(contestant.name, Math.max(1, Math.min(50, Math.ceil(ROUND_MS / once))));
  }
  const times = new Map<string, number[]>(contestants.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const contestant of contestants) {
      const count = repetitions.get(contestant.name)!;
      times.get(contestant.name)!.push(await timeRound(contestant, count) / count);
    }
  }
  for (const contestant of contestants) contestant.dispose?.();
  return new Map([...times].map(([name, values]) => [name, median(values)]));
}

/** The geometric mean. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** How many things happen in a second, as a moving average. */

/** Seconds of the past that the average looks at. */
const WINDOW = 30;

/** Counts things as they are done, e.g. images. */
export class RateMeter {
  #marks: { time: number; count: number }[];

  /** @param now the present, in seconds: nothing is done before it */
  constructor(now: number) {
    this.#marks = [{ time: now, count: 0 }];
  }

  /** `count` more are done at the time `now`, in seconds. */
  add(count: number, now: number): void {
    const marks = this.#marks;
    marks.push({ time: now, count: marks[marks.length - 1].count + count });
    // Two marks stay, however long ago, so that a slow run has a rate too.
    while (marks.length > 2 && marks[1].time < now - WINDOW) marks.shift();
    // The first step waits for shaders to be compiled: as soon as there is another, it says more.
    if (marks.length === 3 && marks[0].count === 0) marks.shift();
  }

  /** Whether the rate is of more than the first things, which wait for shaders to be compiled. */
  get isSettled(): boolean {
    return this.#marks[0].count > 0;
  }

  /** Things in a second; 0 until the first is done. */
  perSecond(): number {
    const first = this.#marks[0];
    const last = this.#marks[this.#marks.length - 1];
    return last.time > first.time ? (last.count - first.count) / (last.time - first.time) : 0;
  }
}

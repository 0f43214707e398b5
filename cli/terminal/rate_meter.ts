/** How many things happen in a second, as a moving average. */

/** Seconds of the past that the average looks at, and seconds that it is of at least. */
const WINDOW = { most: 30, least: 1 };

/** Counts things as they are done, e.g. images. */
export class RateMeter {
  readonly #marks: { time: number; count: number }[] = [];
  #skipped: number;

  /**
   * @param skipped how many times something is done that the rate leaves out: the first waits for shaders to be compiled, and
   * what was under way meanwhile is done at once after it. The rate is of the time from the last of them on
   */
  constructor(skipped: number) {
    this.#skipped = skipped;
  }

  /** `count` more are done at the time `now`, in seconds. */
  add(count: number, now: number): void {
    if (this.#skipped > 1) {
      this.#skipped--;
      return;
    }
    const marks = this.#marks;
    marks.push({ time: now, count: marks.length === 0 ? 0 : marks[marks.length - 1].count + count });
    // Two marks stay, however long ago, so that a slow run has a rate too.
    while (marks.length > 2 && marks[1].time < now - WINDOW.most) marks.shift();
  }

  /** So many seconds before now nothing was to be done: they do not count. */
  pause(seconds: number): void {
    for (const mark of this.#marks) mark.time += seconds;
  }

  /** Things in a second; `undefined` until that is of a second at least. */
  perSecond(): number | undefined {
    const [first, last] = [this.#marks[0], this.#marks[this.#marks.length - 1]];
    const seconds = first === undefined ? 0 : last.time - first.time;
    return seconds < WINDOW.least ? undefined : (last.count - first.count) / seconds;
  }
}

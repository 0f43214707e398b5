/** What a person sees of work that is counted: a line that is drawn anew on a terminal, a line now and then elsewhere. */
import { printable, printableLine } from "../../data/printable.ts";
import { formatDuration } from "./duration.ts";
import { CLEAR_LINE, inMebibytes, openTerminal, type Terminal } from "./progress.ts";
import { RateMeter } from "./rate_meter.ts";

/** Seconds between two looks on a terminal, and between two lines elsewhere. */
const SECONDS_BETWEEN = { terminal: 0.1, lines: 10 };

/** How work is shown. */
export interface CountProgressOptions {
  /** What is done with what, such as `reading rows`. */
  doing: string;
  /** Show nothing but warnings. */
  quiet?: boolean;
  /** What to draw on, `null` for lines; by default stderr where it is a terminal. */
  terminal?: Terminal | null;
  /** Shows a line where there is no terminal; stderr by default. */
  print?: (line: string) => void;
  /** Takes a line now and then for a log, quiet or not. */
  log?: (line: string) => void;
  /** Seconds since some moment. */
  now?: () => number;
}

/** Shows work. Close it with `using`, or its last line stays. */
export class CountProgress implements Disposable {
  readonly #doing: string;
  readonly #quiet: boolean;
  readonly #terminal: Terminal | null;
  readonly #print: (line: string) => void;
  readonly #log: ((line: string) => void) | undefined;
  readonly #now: () => number;
  readonly #meter: RateMeter;
  #before = 0;
  #shownAt: number;
  #loggedAt: number;

  constructor(
    { doing, quiet = false, terminal = quiet ? null : openTerminal(), print = console.error, log, now }:
      CountProgressOptions,
  ) {
    this.#doing = doing;
    this.#quiet = quiet;
    this.#terminal = terminal;
    this.#print = print;
    this.#log = log;
    this.#now = now ?? (() => performance.now() / 1000);
    this.#shownAt = this.#loggedAt = this.#now();
    this.#meter = new RateMeter(1);
    this.#meter.add(0, this.#shownAt);
  }

  /** So many are done, of so many where that is known; fewer than before is a new count. */
  update(done: number, total?: number): void {
    const now = this.#now();
    const interval = this.#terminal === null ? SECONDS_BETWEEN.lines : SECONDS_BETWEEN.terminal;
    const isShown = !this.#quiet && now - this.#shownAt >= interval;
    const isLogged = this.#log !== undefined && now - this.#loggedAt >= SECONDS_BETWEEN.lines;
    if (!isShown && !isLogged) return;
    this.#meter.add(Math.max(0, done - this.#before), now);
    this.#before = done;
    const rate = this.#meter.perSecond();
    const left = rate === undefined || total === undefined
      ? ""
      : `, ${formatDuration((total - done) / rate)} left`;
    const counts = total === undefined ? `${done}` : `${done} of ${total}`;
    const text = `${this.#doing}: ${counts}${rate === undefined ? "" : `, ${Math.round(rate)}/s`}${left}`;
    if (isLogged) {
      this.#loggedAt = now;
      this.#log!(text);
    }
    if (!isShown) return;
    this.#shownAt = now;
    if (this.#terminal === null) this.#print(text);
    else this.#terminal.write(CLEAR_LINE + printableLine(text).slice(0, this.#terminal.columns() - 1));
  }

  /** {@linkcode update} by bytes, which are shown in MiB. */
  updateBytes(done: number, total: number): void {
    this.update(inMebibytes(done), inMebibytes(total));
  }

  /** Shows a line that stays, quiet or not. */
  warn(text: string): void {
    if (this.#terminal === null) this.#print(text);
    else this.#terminal.write(`${CLEAR_LINE}${printable(text)}\n`);
  }

  /** Shows a line that stays, unless it is to be quiet. */
  note(text: string): void {
    if (!this.#quiet) this.warn(text);
  }

  [Symbol.dispose](): void {
    this.#terminal?.write(CLEAR_LINE);
  }
}

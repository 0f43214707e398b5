/** What a person sees of a run: a bar on a terminal, a line now and then elsewhere. */

import { printable } from "../../data/printable.ts";
import { ProgressBar, type ProgressBarFormatter } from "@std/cli/unstable-progress-bar";
import { writeAll } from "../../data/replace_file.ts";
import { formatDuration } from "./duration.ts";
import type { ProgressEvent } from "../../actors/events.ts";
import { type ExpectedEvaluations, TimeLeft } from "./time_left.ts";

/** Empties the line that a terminal is in, and goes to its start. */
export const CLEAR_LINE = "\r\x1b[K";
const CYAN = "\x1b[36m";
const PLAIN = "\x1b[39m";

/** A terminal to draw a bar on. Writing to one that is gone has no effect, so that a run can still save what it has. */
export interface Terminal {
  writable: WritableStream<Uint8Array>;
  /** Writes at once, past what `writable` may still hold. */
  write(text: string): void;
  /** Its width at present, in characters. */
  columns(): number;
  colors: boolean;
}

/** stderr, where it is a terminal that can redraw a line; else `null`. `NO_COLOR` is respected. */
export function openTerminal(): Terminal | null {
  if (!Deno.stderr.isTerminal() || Deno.env.get("TERM") === "dumb") return null;
  return {
    writable: new WritableStream({
      async write(bytes) {
        try {
          for (let done = 0; done < bytes.length;) done += await Deno.stderr.write(bytes.subarray(done));
        } catch {
          // it is gone
        }
      },
    }),
    write(text) {
      try {
        writeAll(Deno.stderr, new TextEncoder().encode(text));
      } catch {
        // it is gone
      }
    },
    columns() {
      try {
        return Deno.consoleSize().columns || 80; // a terminal may not know its size, and says 0
      } catch {
        return 80; // none of the three streams that Deno asks is a terminal with a size
      }
    },
    colors: !Deno.noColor,
  };
}

/** Where a run stands after a step. */
export interface StepReport {
  /** From 0. */
  epoch: number;
  /** Steps done in the whole run, this one and those before `--resume` among them. */
  step: number;
  loss: number;
  /** Learning rate of the step. */
  lr: number;
  /** Of a run in mixed precision. */
  lossScale?: { scale: number; skipped: number };
}

/** Seconds between two lines about a phase, in the log and where there is no bar. */
const SECONDS_BETWEEN_LINES = 10;

/** Bytes are shown in these. */
const MEBIBYTE = 2 ** 20;

/** What a run does besides its steps, in words. */
export function describePhase({ phase, of }: Pick<ProgressEvent, "phase" | "of">): string {
  if (phase === "reading") return "reading the data";
  if (phase === "features") return "embedding the images";
  return of === undefined ? "evaluating" : `evaluating the ${of}`;
}

/** How far it is with that, as it is shown: bytes in MiB. */
export function countsOf({ phase, done, total }: ProgressEvent): [done: number, total: number] {
  return phase === "reading" ? [inMebibytes(done), inMebibytes(total)] : [done, total];
}

/** Bytes as they are shown, in whole MiB. */
export function inMebibytes(bytes: number): number {
  return Math.ceil(bytes / MEBIBYTE);
}

/** How a run is shown. */
export interface ProgressOptions {
  epochs: number;
  stepsPerEpoch: number;
  /** Steps that epochs of another batch size had more, or fewer if below 0. */
  extraSteps?: number;
  /** Where the run ends; `epochs * stepsPerEpoch` unless it is limited. */
  totalSteps?: number;
  /** Steps that were done before this run began. */
  firstStep?: number;
  batchSize: number;
  /** None where this is left out. */
  evaluations?: ExpectedEvaluations;
  /** Steps between two lines. */
  printFreq: number;
  /** Show nothing but warnings. */
  quiet?: boolean;
  /** Takes the lines for `log.txt`. */
  log?: (line: string) => void;
  /** What to draw the bar on, `null` for lines; by default stderr where it is a terminal. */
  terminal?: Terminal | null;
  /** Shows a line where there is no terminal; stdout by default. */
  print?: (line: string) => void;
  /** Seconds since some moment. */
  now?: () => number;
}

function formatNumber(value: number): string {
  return String(Number(value.toPrecision(4)));
}

/** Shows a run. Close it with `await using` or `stop()`, or the terminal stays in its hands. */
export class Progress implements AsyncDisposable {
  #options: ProgressOptions;
  #totalSteps: number;
  #terminal: Terminal | null;
  #print: (line: string) => void;
  #now: () => number;
  #timeLeft: TimeLeft;
  /** What goes on besides the steps. */
  #phase: ProgressEvent | undefined;
  #phaseShownAt: number;
  #bar: ProgressBar | undefined;
  #last: StepReport | undefined;

  constructor(options: ProgressOptions) {
    const { terminal, quiet = false, print = console.log, now = () => performance.now() / 1000 } = options;
    this.#options = options;
    this.#totalSteps = options.totalSteps ?? options.epochs * options.stepsPerEpoch;
    this.#terminal = quiet ? null : terminal === undefined ? openTerminal() : terminal;
    this.#print = quiet ? () => {} : print;
    this.#now = now;
    const { batchSize, firstStep = 0, evaluations = { count: 0, images: 0, besideTraining: false } } =
      options;
    this.#timeLeft = new TimeLeft({ totalSteps: this.#totalSteps, batchSize, evaluations }, firstStep);
    this.#phaseShownAt = now();
    if (this.#terminal !== null) {
      this.#bar = new ProgressBar({
        writable: this.#terminal.writable,
        value: options.firstStep ?? 0,
        max: this.#totalSteps,
        barLength: Math.min(Math.max(this.#terminal.columns() - 72, 8), 40),
        clear: true,
        formatter: (state) => this.#formatBar(state),
      });
    }
  }

  /** Takes note of a step, and returns the images in a second (a moving average) that it shows; nothing until they are known. */
  step(report: StepReport): number | undefined {
    const { printFreq, firstStep = 0, stepsPerEpoch, extraSteps = 0 } = this.#options;
    this.#last = report;
    if (this.#phase !== undefined && this.#phase.done >= this.#phase.total) this.#phase = undefined;
    this.#timeLeft.step(report.step, this.#now());
    this.#moveBar();
    const { step } = report;
    const isDue = step % printFreq === 0 || step === firstStep + 1 ||
      (step - extraSteps) % stepsPerEpoch === 0 ||
      step === this.#totalSteps;
    if (isDue) {
      const line = this.#formatLine(report);
      this.#options.log?.(line);
      if (this.#terminal === null) this.#print(line);
    }
    return this.#timeLeft.imagesPerSecond;
  }

  /** Takes note of what goes on besides the steps. */
  phase(event: ProgressEvent): void {
    const now = this.#now();
    if (event.phase === "evaluation") this.#timeLeft.evaluate(event.done, event.total, now);
    this.#phase = event;
    this.#moveBar();
    if (!this.#isPhaseAlone || now - this.#phaseShownAt < SECONDS_BETWEEN_LINES) return;
    this.#phaseShownAt = now;
    const { done, total } = event;
    const line = [`${describePhase(event)}: ${done} of ${total}`, ...this.#left()].join("  ");
    this.#options.log?.(line);
    if (this.#terminal === null) this.#print(line);
  }

  /** Whether there are no steps while it goes on. */
  get #isPhaseAlone(): boolean {
    if (this.#phase === undefined) return false;
    const { evaluations } = this.#options;
    return !evaluations?.besideTraining || this.#last === undefined || this.#last.step >= this.#totalSteps;
  }

  #moveBar(): void {
    if (this.#bar === undefined) return;
    const done = this.#last?.step ?? this.#options.firstStep ?? 0;
    const { done: value, total: max } = this.#isPhaseAlone ? this.#phase! : { done, total: this.#totalSteps };
    [this.#bar.value, this.#bar.max] = [value, max];
  }

  /** Shows a line that stays, above the bar. */
  note(text: string): void {
    this.#options.log?.(text);
    if (this.#terminal === null) this.#print(text);
    else this.#terminal.write(`${CLEAR_LINE}${printable(text)}\n`);
  }

  /** Shows a warning, on stderr, when quiet too. */
  warn(text: string): void {
    this.#options.log?.(`warning: ${text}`);
    if (this.#terminal === null) console.error(`warning: ${text}`);
    else this.#terminal.write(`${CLEAR_LINE}warning: ${printable(text)}\n`);
  }

  /** Takes the bar away. */
  async stop(): Promise<void> {
    await this.#bar?.stop();
    this.#bar = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Images in a second, as soon as that can be told. */
  #rate(): string[] {
    const rate = this.#timeLeft.imagesPerSecond;
    return rate === undefined ? [] : [`${formatNumber(rate)} images/s`];
  }

  /** How long all of it will take, evaluations too, in seconds; nothing until that can be told. */
  get secondsLeft(): number | undefined {
    return this.#timeLeft.seconds();
  }

  #left(): string[] {
    const seconds = this.secondsLeft;
    return seconds === undefined ? [] : [`${formatDuration(seconds)} left`];
  }

  #formatLine({ epoch, step, loss, lr, lossScale }: StepReport): string {
    const { epochs, stepsPerEpoch, extraSteps = 0 } = this.#options;
    const inEpoch = (step - extraSteps - 1) % stepsPerEpoch + 1;
    return [
      `epoch ${epoch} of ${epochs}`,
      `step ${String(inEpoch).padStart(String(stepsPerEpoch).length)}/${stepsPerEpoch}`,
      `loss ${loss.toFixed(4)}`,
      `lr ${formatNumber(lr)}`,
      ...lossScale === undefined ? [] : [`loss scale ${lossScale.scale}, ${lossScale.skipped} skipped`],
      ...this.#rate(),
      ...this.#left(),
    ].join("  ");
  }

  #formatBar({ progressBar, value, max, styledTime }: ProgressBarFormatter): string {
    const { columns, colors } = this.#terminal!;
    const report = this.#last;
    const counts = ` ${value}/${max}`;
    // In the order in which they are left out of a narrow terminal, last first.
    const left = this.#left().map((text) => `  ${text}`);
    const phase = this.#phase && `  ${describePhase(this.#phase)}`;
    const parts = this.#isPhaseAlone
      ? [phase!, ...left]
      : report === undefined
      ? [`  preparing, ${styledTime}`]
      : [
        ...left,
        `  loss ${report.loss.toFixed(3)}`,
        ...this.#rate().map((text) => `  ${text}`),
        `  epoch ${report.epoch} of ${this.#options.epochs}`,
        `  lr ${formatNumber(report.lr)}`,
        ...phase === undefined ? [] : [`${phase} ${this.#phase!.done}/${this.#phase!.total}`],
      ];
    const room = columns() - 1; // the last column makes some terminals wrap
    let text = counts;
    let width = progressBar.length + 2 + counts.length;
    if (width > room) return counts.trim().slice(0, Math.max(room, 0));
    for (const part of parts) {
      if (width + part.length > room) break;
      text += part;
      width += part.length;
    }
    return `[${colors ? CYAN + progressBar + PLAIN : progressBar}]${text}`;
  }
}

/** Stand-in for `@std/cli/unstable-progress-bar`: the real package's types and behaviour, without its own refresh rate. */

/** What a `formatter` is given at each update. */
export interface ProgressBarFormatter {
  /** Time since the start, `mm:ss`. */
  styledTime: string;
  /** The bar itself, e.g. `###-------`. */
  progressBar: string;
  /** Time since the start, in milliseconds. */
  time: number;
  /** `time` at the last update. */
  previousTime: number;
  /** How far it is. */
  value: number;
  /** `value` at the last update. */
  previousValue: number;
  /** Where it ends. */
  max: number;
}

/** Options of a {@linkcode ProgressBar}. */
export interface ProgressBarOptions {
  /** Where it is drawn; `Deno.stderr.writable` by default. */
  writable?: WritableStream<Uint8Array>;
  /** Where it begins; 0 by default. */
  value?: number;
  /** Where it ends. */
  max: number;
  /** Width of the bar, in characters; 50 by default. */
  barLength?: number;
  /** Fills the part that is done; `#` by default. */
  fillChar?: string;
  /** Fills the part to do; `-` by default. */
  emptyChar?: string;
  /** Whether the bar goes away at the end; `false` by default. */
  clear?: boolean;
  /** Draws a line; by default `[mm:ss] [###-------] [0.24/97.6 KiB]`. */
  formatter?: (formatter: ProgressBarFormatter) => string;
  /** Whether `writable` stays open at the end; `true` by default. */
  keepOpen?: boolean;
}

const CLEAR_LINE = "\r\x1b[K";

function twoDigits(value: number): string {
  return String(Math.trunc(value)).padStart(2, "0");
}

function formatBytes({ value, max }: ProgressBarFormatter): string {
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  const i = units.findIndex((_, i) => max < 2 ** (10 * (i + 2)));
  const power = i === -1 ? units.length : i + 1;
  const [at, end] = [value, max].map((bytes) => (bytes / 2 ** (10 * power)).toFixed(2));
  return `${at}/${end} ${units[power - 1]}`;
}

function formatByDefault(state: ProgressBarFormatter): string {
  return `[${state.styledTime}] [${state.progressBar}] [${formatBytes(state)}]`;
}

/** A line on a terminal that is drawn at once, every second, and at the end. */
export class ProgressBar {
  /** How far it is; set it to make progress. */
  value: number;
  /** Where it ends. */
  max: number;

  #options: Required<Omit<ProgressBarOptions, "value" | "max">>;
  #writer: WritableStreamDefaultWriter<string>;
  #written: Promise<void>;
  #timer: ReturnType<typeof setInterval>;
  #start = Date.now();
  #previousTime = 0;
  #previousValue: number;

  /** Draws the bar and goes on doing so. */
  constructor(options: ProgressBarOptions) {
    const { value = 0, max, ...rest } = options;
    this.value = this.#previousValue = value;
    this.max = max;
    this.#options = {
      writable: Deno.stderr.writable,
      barLength: 50,
      fillChar: "#",
      emptyChar: "-",
      clear: false,
      formatter: formatByDefault,
      keepOpen: true,
      ...rest,
    };
    const encoder = new TextEncoderStream();
    this.#timer = setInterval(() => this.#draw(), 1000);
    this.#written = encoder.readable
      .pipeTo(this.#options.writable, { preventClose: this.#options.keepOpen })
      .catch(() => clearInterval(this.#timer));
    this.#writer = encoder.writable.getWriter();
    this.#draw();
  }

  #state(): ProgressBarFormatter {
    const { barLength, fillChar, emptyChar } = this.#options;
    const time = Date.now() - this.#start;
    const done = Math.trunc(Math.min(Math.max(this.value / this.max, 0), 1) * barLength);
    return {
      styledTime: `${twoDigits(time / 60_000)}:${twoDigits((time / 1000) % 60)}`,
      progressBar: fillChar.repeat(done) + emptyChar.repeat(barLength - done),
      time,
      previousTime: this.#previousTime,
      value: this.value,
      previousValue: this.#previousValue,
      max: this.max,
    };
  }

  async #draw(): Promise<void> {
    const state = this.#state();
    try {
      await this.#writer.write(CLEAR_LINE + this.#options.formatter(state));
    } catch {
      // whoever reads has gone
    }
    this.#previousTime = state.time;
    this.#previousValue = state.value;
  }

  /** Draws the bar for the last time (or removes it) and lets go of the stream. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    try {
      if (this.#options.clear) await this.#writer.write(CLEAR_LINE);
      else {
        await this.#draw();
        await this.#writer.write("\n");
      }
      await this.#writer.close();
      await this.#written;
    } catch {
      // whoever reads has gone
    }
  }
}

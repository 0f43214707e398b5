/** What a section of the benches finds. */
import type { Timing } from "./measure.ts";

/** One piece of work, done by several. */
export interface Row {
  /** The work. */
  name: string;
  /** Milliseconds, by who did it; this project is `ours`. */
  timings?: Readonly<Record<string, Timing>>;
  /** What else is to be shown, by heading. */
  facts?: Readonly<Record<string, string>>;
}

/** What a section found. */
export interface Section {
  /** Its name on the command line. */
  name: string;
  title: string;
  /** What is compared, in a sentence or two. */
  about: string;
  rows: readonly Row[];
  /** How many times faster than another this project is to be, by the other's name. */
  targets?: Readonly<Record<string, number>>;
}

/** What a section of the benches finds. */
import type { Timing } from "./measure.ts";

/** One piece of work, done by several. */
export interface Row {
  /** The work. */
  name: string;
  /** Milliseconds, by who did it; this project is `ours`. */
  timings?: Readonly<Record<string, Timing>>;
  /** Whether the others do other work than ours here, so that the row is in no mean. */
  differs?: boolean;
  /** What else is to be shown, by heading. */
  facts?: Readonly<Record<string, string>>;
}

/** A chart of bars from zero. */
export interface Figure {
  /** Heading of the facts that it shows; they begin with a number. */
  fact: string;
  /** What the number is. */
  says: string;
  /** Behind every number. */
  unit: string;
  /** What the number should reach, drawn as a line. */
  target?: number;
}

/** How something grows with something else. */
export interface Curve {
  title: string;
  /** Names of the axes. */
  x: string;
  y: string;
  points: readonly { x: number; measured: number; expected: number }[];
}

/** What a section found. */
export interface Section {
  /** Its name on the command line. */
  name: string;
  title: string;
  /** What is compared, in a sentence or two. */
  about: string;
  rows: readonly Row[];
  /** What its chart shows, where no times are compared: a bar for each row by one of the facts. */
  figure?: Figure;
  /** The same, where what counts is how it grows. */
  curves?: readonly Curve[];
  /** How many times faster than another this project is to be, by the other's name. */
  targets?: Readonly<Record<string, number>>;
}

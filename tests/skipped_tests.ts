/** Finds the tests that were ignored in what `deno test` says. */

/** A test that did not look at anything. */
export interface SkippedTest {
  name: string;
  /** Why not. */
  reason: string;
}

// deno-lint-ignore no-control-regex -- colours begin with the escape character
const COLOURS = /\x1b\[[0-9;]*m/g;

/** Reads the output of `deno test`, line by line. */
export class IgnoredTests {
  readonly found: SkippedTest[] = [];
  readonly #textOf: (file: string) => string;
  readonly #isLong: boolean;
  #file = "";

  /**
   * @param textOf gives the text of a test file, of a path as the runner writes it
   * @param isLong whether the long tests are to run
   */
  constructor(textOf: (file: string) => string, isLong: boolean) {
    this.#textOf = textOf;
    this.#isLong = isLong;
  }

  /** Takes the next line of the output. */
  take(coloured: string): void {
    const line = coloured.replaceAll(COLOURS, "");
    const [, header] = /^running \d+ tests? from (\S+)$/.exec(line) ?? [];
    if (header !== undefined) this.#file = header;
    // With --parallel each line has its file in front.
    const [, file = this.#file, name] = /^(?:(\S+) => )?(.*\S) \.\.\. ignored \(\S+\)$/.exec(line) ?? [];
    if (name === undefined) return;
    const isLong = !this.#isLong && /IS_LONG/.test(this.#textOf(file));
    this.found.push({
      name,
      reason: isLong ? "it is long: SEED_LONG=1 runs it" : "not on this system, or not for this user",
    });
  }
}

/** One line about all of them, `N skipped: NAME (REASON), ...`; `undefined` where there are none. */
export function describeSkipped(tests: readonly SkippedTest[]): string | undefined {
  if (tests.length === 0) return undefined;
  return `${tests.length} skipped: ${tests.map(({ name, reason }) => `${name} (${reason})`).join(", ")}`;
}

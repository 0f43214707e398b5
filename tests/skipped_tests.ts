/** Finds the tests that were ignored in what `deno test` says. */

/** A test that did not look at anything. */
export interface SkippedTest {
  name: string;
  /** Why not. */
  reason: string;
}

// deno-lint-ignore no-control-regex -- colours begin with the escape character
const COLOURS = /\x1b\[[0-9;]*m/g;

/** How many words of a name follow each other in a text, at most. */
function wordsInCommon(name: string, text: string): number {
  const words = name.split(" ");
  let most = 0;
  for (let first = 0; first < words.length; first++) {
    while (first + most < words.length && text.includes(words.slice(first, first + most + 1).join(" "))) {
      most++;
    }
  }
  return most;
}

/** Reads the output of `deno test`, line by line. */
export class IgnoredTests {
  readonly found: SkippedTest[] = [];
  readonly #textsOf: (file: string) => readonly string[];
  readonly #isLong: boolean;
  #file = "";

  /**
   * @param textsOf gives the text of a test file, of a path as the runner writes it, or the texts of a group's files
   * @param isLong whether the long tests are to run
   */
  constructor(textsOf: (file: string) => readonly string[], isLong: boolean) {
    this.#textsOf = textsOf;
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
    // The file of a group that the test is from has most of its name in it: all but what is filled in.
    const texts = this.#textsOf(file).map((text) => ({ text, words: wordsInCommon(name, text) }));
    const { text } = texts.reduce((best, next) => next.words > best.words ? next : best);
    const isLong = !this.#isLong && /IS_LONG/.test(text);
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

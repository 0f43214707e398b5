/** Finds the tests that were ignored in the report of `deno test --junit-path`. */

/** A test that did not look at anything. */
export interface SkippedTest {
  name: string;
  /** Why not. */
  reason: string;
}

/** Those that a filter left out are skipped in the report too, but have no time. */
const IGNORED = /<testcase name="([^"]*)" classname="([^"]*)" time="[^"]*"[^>]*>\s*<skipped\/>/g;

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function unescapeXml(text: string): string {
  return text.replaceAll(/&(\w+);/g, (whole, name) => ENTITIES[name] ?? whole);
}

/**
 * Finds the ignored tests.
 *
 * @param report what `deno test --junit-path` wrote
 * @param textOf gives the text of a test file, of a path as the report has it
 * @param isLong whether the long tests were to run
 */
export function findIgnored(
  report: string,
  textOf: (file: string) => string,
  isLong: boolean,
): SkippedTest[] {
  return [...report.matchAll(IGNORED)].map(([, name, file]) => ({
    name: unescapeXml(name),
    reason: !isLong && /IS_LONG/.test(textOf(unescapeXml(file)))
      ? "it is long: SEED_LONG=1 runs it"
      : "not on this system, or not for this user",
  }));
}

/** One line about all of them, `N skipped: NAME (REASON), ...`; `undefined` where there are none. */
export function describeSkipped(tests: readonly SkippedTest[]): string | undefined {
  if (tests.length === 0) return undefined;
  return `${tests.length} skipped: ${tests.map(({ name, reason }) => `${name} (${reason})`).join(", ")}`;
}

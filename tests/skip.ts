/** How a test says that it looks at nothing, because what it needs is missing on this machine. */

/** The environment variable that names the file in which `tests/main.ts` collects what was skipped. */
export const SKIPPED_FILE = "SEED_SKIPPED";

/**
 * Notes that a test ends without having looked at what it is about. The test has to return then.
 *
 * @param test its name
 * @param reason what is missing, and how to get it
 */
export function skip(test: string, reason: string): void {
  console.log(`skipped: ${reason}`);
  const path = Deno.env.get(SKIPPED_FILE);
  if (path !== undefined) {
    Deno.writeTextFileSync(path, JSON.stringify([test, reason]) + "\n", { append: true });
  }
}

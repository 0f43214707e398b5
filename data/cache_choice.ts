/** What `--cache` may say: a word, or the path of a file. */

const WORDS: readonly string[] = ["auto", "memory", "off"];

/** Returns the file that a choice names; `undefined` where it names none. */
export function cacheFileOf(choice: string): string | undefined {
  return WORDS.includes(choice) ? undefined : choice;
}

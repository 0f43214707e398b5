/** What `--cache` may say: a word, or the path of a file. */
import { UserError } from "../errors.ts";
import { findNearNames } from "./near_names.ts";

const WORDS: readonly string[] = ["auto", "memory", "off"];

/** Other words for these, which flags of other programs take. */
const MEANT: ReadonlyMap<string, string> = new Map([
  ["none", "off"],
  ["no", "off"],
  ["false", "off"],
  ["true", "auto"],
  ["yes", "auto"],
  ["on", "auto"],
  ["mem", "memory"],
  ["ram", "memory"],
]);

/**
 * Returns the file that a choice names; `undefined` where it names none.
 *
 * @throws {UserError} for a word that is none of these, has no `/` and no `.`, and so is hardly meant as the name of a file
 */
export function cacheFileOf(choice: string): string | undefined {
  if (WORDS.includes(choice)) return undefined;
  if (/[./\\]/.test(choice)) return choice;
  const word = choice.toLowerCase();
  const near = MEANT.get(word) ?? findNearNames(word, WORDS, 1)[0];
  throw new UserError(
    `--cache: expected auto, memory, off or the path of a file, found "${choice}"` +
      (near === undefined ? "" : `; did you mean ${near}?`) + ` (a file of that name is written ./${choice})`,
  );
}

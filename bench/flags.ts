/** What the flags of the programs of `bench/` have alike. */
import { UsageError } from "../cli/flags/flags.ts";

/**
 * For `parseArgs`: refuses the flags that a task does not have, which would take the next word as their value, and words
 * that belong to no flag.
 *
 * @param takesNames whether the task takes such words
 */
export function refuseUnknown(task: string, { takesNames = false }: { takesNames?: boolean } = {}) {
  return (arg: string, flag?: string): void => {
    if (takesNames && flag === undefined) return;
    throw new UsageError(`${arg}: unknown; deno task ${task} --help lists the options`);
  };
}

/**
 * Reads a flag that counts something.
 *
 * @throws {UsageError} for anything but a whole number from `least`
 */
export function readCount(flag: string, text: string, least = 1): number {
  if (/^\d{1,6}$/.test(text) && Number(text) >= least) return Number(text);
  throw new UsageError(`${flag}: expected a whole number from ${least}, found ${text || "nothing"}`);
}

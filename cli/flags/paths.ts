/** Paths that people type are meant from the folder they typed them in. */

import { resolve } from "node:path";
import { cacheFileOf } from "../../data/cache_choice.ts";
import { UserError } from "../../errors.ts";
import { UsageError } from "./flags.ts";

/**
 * The folder that the person is in: `deno task` runs commands in the project's folder and leaves the caller's in
 * `INIT_CWD`.
 */
export function callersFolder(): string {
  return Deno.env.get("INIT_CWD") ?? Deno.cwd();
}

/** A typed path, made absolute. A leading `~/`, which shells leave alone in `--data=~/x`, is the home folder. */
export function resolvePath(path: string, folder: string = callersFolder()): string {
  const home = Deno.env.get("HOME");
  return resolve(folder, home !== undefined && /^~(\/|$)/.test(path) ? home + path.slice(1) : path);
}

/**
 * {@linkcode resolvePath} of `--cache`, where that is a path and no word.
 *
 * @throws {UsageError} for a word that is neither
 */
export function resolveCache(cache: string, folder?: string): string {
  try {
    return cacheFileOf(cache) === undefined ? cache : resolvePath(cache, folder);
  } catch (error) {
    throw error instanceof UserError ? new UsageError(error.message) : error;
  }
}

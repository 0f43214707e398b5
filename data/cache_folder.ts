/** Where programs keep what they can make again. */
import { join } from "node:path";

/** Returns a variable of the environment, where it may be read. Deno is not asked for more than was allowed. */
function variable(name: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Deno.env.get(name) : undefined;
}

/**
 * The user's folder for what can be made again: `XDG_CACHE_HOME` and its like.
 *
 * @returns `undefined` where there is no home, or it may not be asked for
 */
export function cacheFolder(): string | undefined {
  const { os } = Deno.build;
  const home = variable("HOME") || variable("USERPROFILE");
  const usual = os === "windows"
    ? variable("LOCALAPPDATA")
    : os === "darwin"
    ? home && join(home, "Library", "Caches")
    : variable("XDG_CACHE_HOME") || (home && join(home, ".cache"));
  return usual ? join(usual, "seed") : undefined;
}

import { join } from "node:path";

/** Where programs keep what they can make again: `XDG_CACHE_HOME` and its like; `undefined` where there is no home. */
export function cacheFolder(): string | undefined {
  const { env, build } = Deno;
  const home = env.get("HOME") ?? env.get("USERPROFILE");
  const usual = build.os === "windows"
    ? env.get("LOCALAPPDATA")
    : build.os === "darwin"
    ? home && join(home, "Library", "Caches")
    : env.get("XDG_CACHE_HOME") || (home && join(home, ".cache"));
  return usual && join(usual, "seed");
}

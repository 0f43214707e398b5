/** How much memory there is. */

/** Where Linux says what a container may have: of version 2, and of version 1. */
const LIMITS = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/** Bytes of memory. */
export interface SystemMemory {
  /** Of the machine, or of the container where it may have less. */
  total: number;
  /** That can be had without another program having to give it back. */
  available: number;
}

/** Returns how much memory there is; `undefined` where the program may not ask (`--allow-sys=systemMemoryInfo`). */
export function systemMemory(): SystemMemory | undefined {
  // Nobody is asked for a permission: there is a good answer without.
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "systemMemoryInfo" });
  if (state !== "granted") return undefined;
  const { total, available } = Deno.systemMemoryInfo();
  const most = Math.min(total, ...LIMITS.map(readLimit));
  return { total: most, available: Math.min(most, available) };
}

/** The limit that a file has; infinite where it has none. */
function readLimit(path: string): number {
  try {
    if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") return Infinity;
    const text = Deno.readTextFileSync(path).trim();
    return /^\d+$/.test(text) ? Number(text) : Infinity;
  } catch {
    return Infinity;
  }
}

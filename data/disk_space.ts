/** How much room there is on a disk. */
import { statfsSync } from "node:fs";

/** Bytes of a disk. */
export interface DiskSpace {
  /** That it has. */
  total: number;
  /** That may still be written. */
  available: number;
}

/**
 * Returns how much room there is on the disk of a file or folder.
 *
 * @throws what the system says, or that `--allow-sys=statfs` is missing
 */
export function readDiskSpace(path: string): DiskSpace {
  const { blocks, bavail, bsize } = statfsSync(path);
  return { total: Number(blocks) * Number(bsize), available: Number(bavail) * Number(bsize) };
}

/** {@linkcode readDiskSpace}; `undefined` where the program may not ask, or the system does not say. */
export function diskSpace(path: string): DiskSpace | undefined {
  try {
    // Nobody is asked for a permission: there is a good answer without.
    const { state } = Deno.permissions.querySync({ name: "sys", kind: "statfs" });
    if (state !== "granted") return undefined;
    const space = readDiskSpace(path);
    return space.total > 0 ? space : undefined;
  } catch {
    return undefined; // some network's disk
  }
}

/** A small file system for tests of disks that are full or read-only. */
import { skip } from "./skip.ts";

/**
 * Mounts a file system in memory for a test, which takes root; skips the test where that is not to be had.
 *
 * @param name of the test
 * @param path of a folder, which is made where it is not there
 * @param options of `mount`: `size=64k`
 */
export async function withMount(
  name: string,
  path: string,
  options: string,
  test: () => void | Promise<void>,
): Promise<void> {
  const call = async (command: string, ...args: string[]) => {
    try {
      return (await new Deno.Command(command, { args, stderr: "null" }).output()).success;
    } catch {
      return false; // there is no such program
    }
  };
  Deno.mkdirSync(path, { recursive: true });
  if (!await call("mount", "-t", "tmpfs", "-o", options, "tmpfs", path)) {
    return skip(name, `a file system with ${options} cannot be mounted here, which takes root`);
  }
  try {
    await test();
  } finally {
    await call("umount", "-l", path);
  }
}

/** Makes what {@linkcode withMount} mounted read-only. */
export async function remountReadOnly(path: string): Promise<void> {
  const { success } = await new Deno.Command("mount", { args: ["-o", "remount,ro", path] }).output();
  if (!success) throw new Error(`${path} cannot be made read-only`);
}

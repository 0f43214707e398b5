/** Takes the lock of a file, for which it has a little patience. */

/**
 * How long a lock is waited for, in ms. Whoever looks whether it is held holds it for a moment, and so does a program that is just
 * being started by the process that had it.
 */
export const LOCK_PATIENCE_MS = 100;

/** Time between two tries, in ms. */
const BETWEEN_TRIES_MS = 20;

/**
 * Whether the lock could be had. The file's being closed gives it back.
 *
 * @throws the system's error on a disk without locks
 */
export function tryLock(file: Deno.FsFile, patienceMs = LOCK_PATIENCE_MS): boolean {
  const last = performance.now() + patienceMs;
  for (;;) {
    if (file.tryLockSync(true)) return true;
    if (performance.now() > last) return false;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BETWEEN_TRIES_MS);
  }
}

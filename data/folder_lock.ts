/** Sees to it that no two runs write to one folder. */
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { FolderIdentity } from "./folder_identity.ts";
import { writeAll } from "./replace_file.ts";
import { describeKind } from "./stat_or_explain.ts";
import { LOCK_PATIENCE_MS, tryLock } from "./try_lock.ts";

/** The file that is locked, and says who holds it. Of a run that was killed it stays, without the lock. */
const FILE = ".lock";

/** How long a lock is waited for where a launcher starts the processes of a run: it may come to its end, and be started again, before they end. */
export const RELAUNCH_PATIENCE_MS = 10_000;

/** A lock on a folder, held by a run until it is disposed of or the process ends, in whatever way. */
export class FolderLock implements Disposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;
  /** Detects whether the folder is still the one that was locked. */
  readonly identity: FolderIdentity;

  private constructor(path: string, file: Deno.FsFile, identity: FolderIdentity) {
    this.#path = path;
    this.#file = file;
    this.identity = identity;
  }

  /**
   * Locks a folder.
   *
   * @param patienceMs how long it waits for another run to end
   * @throws {UserError} if another run holds the lock, or the lock file is a link or no file
   * @throws the system's error if the folder is not writable
   */
  static take(folder: string, patienceMs = LOCK_PATIENCE_MS): FolderLock {
    const path = join(folder, FILE);
    for (;;) {
      const { file, isNew } = open(path);
      try {
        if (!tryLock(file, patienceMs)) {
          throw new UserError(
            `${folder}: another run is writing to this folder (${
              Deno.readTextFileSync(path).trim()
            }); wait for it, ` +
              "stop it, or choose another folder with --output",
          );
        }
        // The one who had it may have removed the file meanwhile, or somebody may have put a link in its place.
        if (lookAt(path)?.ino !== file.statSync().ino) {
          file.close();
          continue;
        }
      } catch (error) {
        file.close();
        throw error;
      }
      try {
        file.truncateSync();
        writeAll(file, new TextEncoder().encode(`process ${Deno.pid}, since ${new Date().toISOString()}\n`));
        return new FolderLock(path, file, new FolderIdentity(folder));
      } catch (error) {
        // On a full disk an empty file can be made, and nothing be written into it.
        if (isNew) Deno.removeSync(path);
        file.close();
        throw error;
      }
    }
  }

  /** Returns whether a run holds the folder, or may hold it if the system cannot tell. */
  static isHeld(folder: string): boolean {
    const path = join(folder, FILE);
    try {
      if (!lookAt(path)?.isFile) return false;
      using file = Deno.openSync(path);
      return !file.tryLockSync(false);
    } catch (error) {
      return !(error instanceof Deno.errors.NotFound);
    }
  }

  /** Unlocks the folder. */
  [Symbol.dispose](): void {
    try {
      // Another folder may be in its place, which another run may have.
      if (lookAt(this.#path)?.ino === this.#file.statSync().ino) Deno.removeSync(this.#path);
    } catch { /* the folder itself was removed */ }
    this.#file.close();
    this.identity[Symbol.dispose]();
  }
}

/**
 * Opens the file or makes it, and changes nothing in it. A link is not followed: what it leads to is somebody else's.
 *
 * @throws {UserError} where there is something else than a file that only this path leads to
 */
function open(path: string): { file: Deno.FsFile; isNew: boolean } {
  for (;;) {
    const found = lookAt(path);
    if (found !== undefined && (!found.isFile || (found.nlink ?? 1) > 1)) {
      const what = found.isFile || found.isSymlink ? "a link to another file" : describeKind(found);
      throw new UserError(`${path}: expected the lock file of a run, found ${what}; remove it`);
    }
    const isNew = found === undefined;
    try {
      return { file: Deno.openSync(path, { createNew: isNew, read: true, write: true }), isNew };
    } catch (error) {
      // It was made, or removed, meanwhile.
      const { AlreadyExists, NotFound } = Deno.errors;
      if (isNew ? !(error instanceof AlreadyExists) : !(error instanceof NotFound)) throw error;
    }
  }
}

/** What a path is itself, also where it is a link; nothing where there is nothing. */
function lookAt(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

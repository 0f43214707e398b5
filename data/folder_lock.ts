/** Sees to it that no two runs write to one folder. */
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { writeAll } from "./replace_file.ts";

/** The file that is locked, and says who holds it. Of a run that was killed it stays, without the lock. */
const FILE = ".lock";

/** A folder that is held by a run until this is disposed of, or its process ends in whatever way. */
export class FolderLock implements Disposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;

  private constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.#file = file;
  }

  /**
   * Takes a folder.
   *
   * @throws {UserError} where another run has it
   * @throws what the system says where the folder cannot be written
   */
  static take(folder: string): FolderLock {
    const path = join(folder, FILE);
    for (;;) {
      const file = Deno.openSync(path, { create: true, read: true, write: true });
      try {
        if (!file.tryLockSync(true)) {
          throw new UserError(
            `${folder}: another run writes to this folder (${
              Deno.readTextFileSync(path).trim()
            }); wait for its end, ` +
              "stop it, or write to another folder: --output",
          );
        }
        // The one who had it may have removed the file meanwhile.
        if (inodeOf(path) !== file.statSync().ino) {
          file.close();
          continue;
        }
        file.truncateSync();
        writeAll(file, new TextEncoder().encode(`process ${Deno.pid}, since ${new Date().toISOString()}\n`));
        return new FolderLock(path, file);
      } catch (error) {
        file.close();
        throw error;
      }
    }
  }

  /** Whether a run has the folder; where the system cannot tell, it may have. */
  static isHeld(folder: string): boolean {
    try {
      using file = Deno.openSync(join(folder, FILE));
      return !file.tryLockSync(false);
    } catch (error) {
      return !(error instanceof Deno.errors.NotFound);
    }
  }

  /** Lets go of the folder. */
  [Symbol.dispose](): void {
    try {
      Deno.removeSync(this.#path);
    } catch { /* the folder itself was removed */ }
    this.#file.close();
  }
}

function inodeOf(path: string): number | null | undefined {
  try {
    return Deno.statSync(path).ino;
  } catch {
    return undefined;
  }
}

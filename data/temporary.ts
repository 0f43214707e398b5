/**
 * Temporary files and folders beside what they will become, or are needed for. All of the program's are made here.
 *
 * Each is locked by its process for as long as it is there. A lock ends with its process, however that ends, so that what
 * a killed one left is known by having none, and is removed when the same file is written the next time.
 */
import { basename, dirname, join } from "node:path";

/** `.NAME.PROCESS-RANDOM.tmp`: NAME is the file that it is for. */
const TEMPORARY = /^\.(.+)\.\d+-[0-9a-f]{8}\.tmp$/;

/** The file in a temporary folder that is locked. */
const LOCK = ".lock";

/** A temporary file: empty, open for writing, and locked. It is closed and removed where it was not renamed. */
export interface TemporaryFile extends Disposable {
  readonly path: string;
  readonly file: Deno.FsFile;
}

/** A temporary folder, which is removed with all that is in it. */
export interface TemporaryFolder extends Disposable {
  readonly path: string;
}

/**
 * Makes a temporary file, and removes those for the same target whose writers were killed.
 *
 * @param target path of what it will become, in the same folder
 * @throws what the system says where it cannot be made
 */
export function openTemporary(target: string): TemporaryFile {
  for (;;) {
    const path = nameFor(target);
    const file = Deno.openSync(path, { write: true, createNew: true });
    if (isKept(file, path)) {
      return {
        path,
        file,
        [Symbol.dispose]() {
          // After a rename there is nothing of this name any more.
          quietly(() => Deno.removeSync(path));
          quietly(() => file.close());
        },
      };
    }
    quietly(() => Deno.removeSync(path));
    file.close();
  }
}

/**
 * Makes a temporary folder, and removes what was left for the same target by killed processes.
 *
 * @param target path of what it is needed for, in the same folder
 * @throws what the system says where it cannot be made
 */
export function makeTemporaryFolder(target: string): TemporaryFolder {
  for (;;) {
    const path = nameFor(target);
    Deno.mkdirSync(path);
    const lock = join(path, LOCK);
    let file: Deno.FsFile;
    try {
      file = Deno.openSync(lock, { write: true, createNew: true });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue; // removed for being empty, see removeIfStale
      quietly(() => Deno.removeSync(path, { recursive: true }));
      throw error;
    }
    if (isKept(file, lock)) {
      return {
        path,
        [Symbol.dispose]() {
          quietly(() => Deno.removeSync(path, { recursive: true }));
          file.close();
        },
      };
    }
    file.close();
    quietly(() => Deno.removeSync(path, { recursive: true }));
  }
}

/**
 * Removes temporary files in a folder whose processes were killed; those of living ones stay.
 *
 * @param isTarget whether those for a file of this name are wanted
 */
export function removeStaleTemporaries(folder: string, isTarget: (name: string) => boolean): void {
  let names: string[];
  try {
    names = Array.from(Deno.readDirSync(folder), ({ name }) => name);
  } catch {
    return; // whoever writes there hears why it cannot be read
  }
  for (const name of names) {
    const target = TEMPORARY.exec(name)?.[1];
    if (target !== undefined && isTarget(target)) quietly(() => removeIfStale(join(folder, name)));
  }
}

function nameFor(target: string): string {
  const [folder, name] = [dirname(target), basename(target)];
  removeStaleTemporaries(folder, (other) => other === name);
  return join(folder, `.${name}.${Deno.pid}-${crypto.randomUUID().slice(0, 8)}.tmp`);
}

/** Throws where it is gone, of another user, or on a disk without locks, where nothing tells whether its process lives. */
function removeIfStale(path: string): void {
  const { isDirectory } = Deno.lstatSync(path);
  const lock = isDirectory ? join(path, LOCK) : path;
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(lock, { read: true, write: true });
  } catch (error) {
    // Killed before it had made the lock, so that the folder is empty: one that is not stays.
    if (isDirectory && error instanceof Deno.errors.NotFound) Deno.removeSync(path);
    return;
  }
  using _ = file;
  if (file.tryLockSync(true)) Deno.removeSync(path, { recursive: isDirectory });
}

/** Locks what was just made. Until then it looked like one whose process is gone, and may have been removed as such. */
function isKept(file: Deno.FsFile, path: string): boolean {
  try {
    if (!file.tryLockSync(true)) return false;
  } catch {
    return true; // a disk without locks, on which nobody removes what he cannot lock
  }
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

function quietly(work: () => void): void {
  try {
    work();
  } catch {
    // What it was about is gone already, or nothing can be done about it.
  }
}

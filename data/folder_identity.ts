/** Notices that a folder is no longer where it was. */
import { UserError } from "../errors.ts";

/** Error of a run whose output folder was removed, moved or replaced. */
export class FolderLostError extends UserError {
  /** Name of the error class. */
  override name = "FolderLostError";
}

/** Between two looks of {@linkcode FolderIdentity.watch}, in ms. */
const SNAPSHOT_EVERY_MS = 1_000;

/**
 * Detects whether a path still leads to the same folder. Open files do not show it: after their folder was removed,
 * writes to them are lost without an error.
 */
export class FolderIdentity implements Disposable {
  readonly #path: string;
  readonly #dev: number;
  readonly #ino: number | null;
  /** Kept open, so that no other folder is given the same number; nothing where the system opens no folders. */
  readonly #handle: Deno.FsFile | undefined;

  /**
   * Remembers the folder that a path leads to now.
   *
   * @throws the system's error if there is no such folder
   */
  constructor(path: string) {
    this.#path = path;
    ({ dev: this.#dev, ino: this.#ino } = Deno.statSync(path));
    try {
      this.#handle = Deno.openSync(path);
    } catch {
      // Windows opens no folders.
    }
  }

  /** Returns the identity of the folder at a path, or `undefined` if there is none. */
  static of(path: string): FolderIdentity | undefined {
    try {
      return new FolderIdentity(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  /** Returns an error if the folder is no longer in place; `undefined` if it is, or that is not known. */
  find(): FolderLostError | undefined {
    try {
      return this.#evaluate(Deno.statSync(this.#path));
    } catch (error) {
      return this.#evaluate(error);
    }
  }

  /**
   * Checks that the folder is in place.
   *
   * @throws {FolderLostError} if it is not
   */
  check(): void {
    const lost = this.find();
    if (lost !== undefined) throw lost;
  }

  /** Watches the folder until disposed of. The signal aborts with a {@linkcode FolderLostError} when it is lost. */
  watch(): { signal: AbortSignal } & Disposable {
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    let isOver = false;
    const look = async () => {
      const lost = this.#evaluate(await Deno.stat(this.#path).catch((error) => error));
      if (isOver) return;
      if (lost !== undefined) controller.abort(lost);
      else schedule();
    };
    const schedule = () => {
      timer = setTimeout(look, SNAPSHOT_EVERY_MS);
      Deno.unrefTimer(timer);
    };
    schedule();
    return {
      signal: controller.signal,
      [Symbol.dispose]() {
        isOver = true;
        clearTimeout(timer);
      },
    };
  }

  /** Closes its handle of the folder. */
  [Symbol.dispose](): void {
    this.#handle?.close();
  }

  #evaluate(found: Deno.FileInfo | unknown): FolderLostError | undefined {
    const { NotFound, NotADirectory } = Deno.errors;
    const isGone = found instanceof NotFound || found instanceof NotADirectory;
    // A disk that does not answer now may do so again: the next write will say.
    if (found instanceof Error && !isGone) return undefined;
    const { dev, ino } = found as Deno.FileInfo;
    if (!isGone && dev === this.#dev && ino === this.#ino) return undefined;
    return new FolderLostError(
      `${this.#path}: the output directory was removed or moved during the run, ${
        isGone ? "and no longer exists" : "and another one is in its place"
      }. ` +
        "The run stops; its files are wherever that directory is now",
    );
  }
}

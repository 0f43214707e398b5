/** Notices that a folder is no longer where it was. */
import { UserError } from "../errors.ts";

/** The folder that a run writes to was removed, moved or replaced meanwhile. */
export class FolderLostError extends UserError {
  /** What a program tells the kind of error by. */
  override name = "FolderLostError";
}

/** Between two looks of {@linkcode FolderIdentity.watch}, in ms. */
const SNAPSHOT_EVERY_MS = 1_000;

/**
 * Tells whether a path still leads to the folder that it led to at first. Files that are open do not tell: what is written
 * to them is lost without an error when their folder has been removed.
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
   * @throws what the system says where there is no such folder
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

  /** The folder that a path leads to, where there is one. */
  static of(path: string): FolderIdentity | undefined {
    try {
      return new FolderIdentity(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  /** What has become of it; nothing where it is in its place, or that cannot be told. */
  find(): FolderLostError | undefined {
    try {
      return this.#evaluate(Deno.statSync(this.#path));
    } catch (error) {
      return this.#evaluate(error);
    }
  }

  /**
   * Makes sure that the folder is in its place.
   *
   * @throws {FolderLostError} where it is not
   */
  check(): void {
    const lost = this.find();
    if (lost !== undefined) throw lost;
  }

  /** Looks again and again, and aborts with a {@linkcode FolderLostError}; until it is disposed of. */
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

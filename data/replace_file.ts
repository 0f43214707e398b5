/** Writes a file whole or not at all, and sets one aside. */
import { dirname } from "node:path";
import { UserError } from "../errors.ts";
import { isThere } from "./require_new.ts";
import { openTemporary, type TemporaryFile } from "./temporary.ts";

/**
 * Gives a file a name that ends in `suffix`, or in `suffix-2` and so on where a file has that name.
 *
 * @throws what the system says
 */
export async function setAside(path: string, suffix: string): Promise<void> {
  let target = path + suffix;
  for (let i = 2; await isThere(target); i++) target = `${path}${suffix}-${i}`;
  await Deno.rename(path, target);
}

/** Characters of a text in parts that are written at once. */
const WRITTEN_AT_ONCE = 2 ** 20;

/** A file could not be written. What was there before under its name is as it was. */
export class FileWriteError extends UserError {
  /** Tells people's errors apart in messages and in Workers. */
  override name = "FileWriteError";
  /** Path of the file that was to be written. */
  readonly path: string;

  /** Names the file, and why it could not be written. */
  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`${path}: could not be written: ${reason}`, options);
    this.path = path;
  }
}

/** Writes all of the bytes: one call may write some of them only. */
export function writeAll(file: Pick<Deno.FsFile, "writeSync">, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
}

/**
 * Writes a file anew: to a temporary file in the same folder, which is flushed to the disk and takes the name last. At
 * any moment there is either the whole old file or the whole new one.
 *
 * @param write gets the temporary file, empty and open for writing; what it throws goes on to the caller
 * @throws FileWriteError where the disk is full, the folder is missing or read-only, or the name is that of a folder; the
 *   temporary file is gone
 */
export async function replaceFile(path: string, write: (file: Deno.FsFile) => Promise<void>): Promise<void> {
  await replaceFiles([path], ([file]) => write(file));
}

/**
 * {@linkcode replaceFile} with files that belong together. None takes its name before all are written and flushed to the disk; then
 * they do so in the order of `paths`.
 *
 * @param write gets the temporary files, in that order
 * @throws FileWriteError as {@linkcode replaceFile} does; where a name cannot be taken, those before it have been
 */
export async function replaceFiles(
  paths: readonly string[],
  write: (files: Deno.FsFile[]) => Promise<void>,
): Promise<void> {
  using stack = new DisposableStack();
  const written: { path: string; target: string; temporary: TemporaryFile }[] = [];
  for (const path of paths) {
    const target = targetOf(path);
    const temporary = stack.use(await openFor(path, target));
    written.push({ path, target, temporary });
  }
  await explained(paths[0], () => write(written.map(({ temporary }) => temporary.file)));
  for (const { path, temporary } of written) await explained(path, () => temporary.file.sync());
  // While they are open, and thereby locked: nobody takes them for some that were left behind.
  for (const { path, target, temporary } of written) {
    await explained(path, () => Deno.rename(temporary.path, target));
  }
  for (const folder of new Set(written.map(({ target }) => dirname(target)))) await syncFolder(folder);
}

/**
 * Finds out before any work is done whether {@linkcode replaceFile} can begin to write a file. Nothing is left behind.
 *
 * @throws FileWriteError where the folder is missing or read-only, or the name is that of a folder
 */
export async function requireWritable(path: string): Promise<void> {
  using _ = await openFor(path, targetOf(path));
}

/** Opens a temporary file that is to take a name. A folder keeps its own: that is said before there is any work to lose. */
async function openFor(path: string, target: string): Promise<TemporaryFile> {
  const info = await Deno.stat(target).catch(() => undefined); // nothing, as a rule
  if (info?.isDirectory) {
    throw new FileWriteError(path, "a folder has that name; remove it, or choose another name");
  }
  return await explained(path, () => Promise.resolve(openTemporary(target)));
}

/**
 * Does the work of writing a file, and says why where the system refuses it.
 *
 * @throws FileWriteError where it does, with the path; other errors as they are
 */
export async function explained<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UserError || !isSystemError(error)) throw error;
    throw new FileWriteError(path, await explain(error, path), { cause: error });
  }
}

/** {@linkcode replaceFile} with a text, in UTF-8. */
export async function replaceTextFile(path: string, text: string): Promise<void> {
  await replaceFile(path, (file) => Promise.resolve(writeAll(file, new TextEncoder().encode(text))));
}

/**
 * {@linkcode replaceTextFile} at once, for small files that are written often. It is not flushed to the disk: where the
 * power fails, the file that was there before may be lost with it.
 *
 * @throws what the system says; the temporary file is gone
 */
export function replaceTextFileSync(path: string, text: string): void {
  replaceSync(path, [text], false);
}

/**
 * {@linkcode replaceTextFileSync} with a text in parts, which together may be longer than a string can be. It is flushed to the disk
 * before it takes its name.
 */
export function replacePartsSync(path: string, parts: Iterable<string>): void {
  replaceSync(path, parts, true);
}

function replaceSync(path: string, parts: Iterable<string>, isFlushed: boolean): void {
  const target = targetOf(path);
  using temporary = openTemporary(target);
  let text = "";
  const flush = () => {
    writeAll(temporary.file, new TextEncoder().encode(text));
    text = "";
  };
  for (const part of parts) {
    text += part;
    if (text.length >= WRITTEN_AT_ONCE) flush();
  }
  flush();
  if (isFlushed) temporary.file.syncSync();
  Deno.renameSync(temporary.path, target);
}

/** Where the file really lies: a link stays one, and the temporary file lies on the disk of its target. */
function targetOf(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    return path;
  }
}

/** Makes the new name as durable as the data. Not every system can; the file itself is whole either way. */
async function syncFolder(folder: string): Promise<void> {
  try {
    using handle = await Deno.open(folder);
    await handle.sync();
  } catch {
    // Windows has no handle of a folder to flush.
  }
}

function isSystemError(error: unknown): error is Error {
  return error instanceof Error &&
    ("code" in error || Object.values(Deno.errors).some((kind) => error instanceof kind));
}

async function explain(error: Error, path: string): Promise<string> {
  const code = (error as { code?: string }).code;
  const folder = dirname(path);
  const reason = code === "ENOSPC" || code === "EDQUOT"
    ? `no space left on the disk of ${folder}; free some`
    : error instanceof Deno.errors.NotFound
    ? `the folder ${folder} does not exist; create it first`
    : code === "EROFS" || error instanceof Deno.errors.PermissionDenied
    ? `${folder} is not writable; choose another folder`
    : error instanceof Deno.errors.NotCapable // whose message has the random name of the temporary file
    ? `Deno has no permission to read and write ${folder}; grant both, or choose another folder`
    : error.message;
  const before = await Deno.stat(path).then(
    () => "the previous file is untouched",
    () => "no file was created",
  );
  return `${reason} (${before})`;
}

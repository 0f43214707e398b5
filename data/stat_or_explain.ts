/** A look at a path, with an error that helps where there is nothing. */
import { basename, dirname } from "node:path";
import { UserError } from "../errors.ts";
import { findNearNames } from "./near_names.ts";

/**
 * What is at a path.
 *
 * @throws {UserError} that says what is there instead, and which names are near
 */
export async function statOrExplain(path: string): Promise<Deno.FileInfo> {
  try {
    return await Deno.stat(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory)) {
      throw new UserError(`${path} cannot be read: ${(error as Error).message}.`, { cause: error });
    }
    throw new UserError(`${path} does not exist. ${await describeSurroundings(path)}`);
  }
}

/** Kinds of things at a path, of which only a file can be read at any place. */
export function describeKind(info: Deno.FileInfo): string {
  if (info.isFile) return "a file";
  if (info.isDirectory) return "a folder";
  if (info.isFifo) return "a named pipe";
  if (info.isSocket) return "a socket";
  if (info.isCharDevice || info.isBlockDevice) return "a device";
  return "something that is neither a file nor a folder";
}

/**
 * What is known of a file. Look before opening: to open a named pipe waits until somebody writes to it.
 *
 * @param what what is expected there, such as `a TSV file`
 * @throws {UserError} that says what is there instead
 */
export async function requireFile(path: string, what: string): Promise<Deno.FileInfo> {
  const info = await statOrExplain(path);
  if (info.isFile) return info;
  throw new UserError(`${path}: expected ${what}, found ${describeKind(info)}${adviceFor(info)}.`);
}

/** What to do about something that is no file where one is needed; follows a sentence about it. */
export function adviceFor({ isDirectory }: Deno.FileInfo): string {
  return isDirectory ? "" : ". It must allow random access: write its output to a file first";
}

/** What is in the nearest folder above that exists, and which names there are near. */
export async function describeSurroundings(path: string): Promise<string> {
  let missing = path;
  let folder = dirname(path);
  while (folder !== missing) {
    const names: string[] = [];
    try {
      for await (const entry of Deno.readDir(folder)) {
        if (!entry.name.startsWith(".")) names.push(entry.isDirectory ? `${entry.name}/` : entry.name);
      }
    } catch {
      [missing, folder] = [folder, dirname(folder)];
      continue;
    }
    names.sort();
    const shown = names.length > 12 ? [...names.slice(0, 12), `and ${names.length - 12} more`] : names;
    const near = findNearNames(basename(missing), names.map((name) => name.replace(/\/$/, "")));
    const name = folder === "." ? "The current directory" : folder;
    return (shown.length === 0 ? `${name} is empty.` : `${name} contains ${shown.join(", ")}.`) +
      (near.length > 0 ? ` Did you mean ${near.join(" or ")}?` : "");
  }
  return "";
}

/** What went wrong with a file, in few words: the system's, without the call that Deno names after it. */
export function describeError(error: unknown): string {
  return (error as Error).message.replace(/: \w+ '.*'$/s, "");
}

/** Class names in a file beside one whose labels are only their numbers. */
import { dirname, join } from "node:path";
import { UserError } from "../errors.ts";

/** File with a class name a line, in the order of the labels. */
export const CLASS_NAMES_FILE = "classes.txt";

/**
 * Returns the text of a file with class names, `undefined` if there is none.
 *
 * @throws {UserError} where it cannot be read: without names nobody sees that labels of two files differ in meaning
 */
export function readNamesFile(file: string): string | undefined {
  try {
    return Deno.statSync(file).isFile ? Deno.readTextFileSync(file) : undefined; // a pipe would be waited for
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new UserError(`${file} cannot be read: ${(error as Error).message}.`, { cause: error });
  }
}

/** Path of the {@linkcode CLASS_NAMES_FILE} beside a file. */
export function classNamesPath(path: string): string {
  return join(dirname(path), CLASS_NAMES_FILE);
}

/**
 * Returns the class names in the `classes.txt` beside a file, as `deno task tsv` writes it.
 *
 * @returns `undefined` if there is none, or it is empty
 * @throws {UserError} where it cannot be read
 */
export function readClassNames(path: string): string[] | undefined {
  const text = readNamesFile(classNamesPath(path))?.replace(/^\uFEFF/, "").replace(/(\r?\n)+$/, "");
  return text ? text.split(/\r?\n/) : undefined;
}

/** Class names in a file beside a TSV file, which has only their numbers. */
import { dirname, join } from "node:path";

/** File with a class name a line, in the order of the labels. */
export const CLASS_NAMES_FILE = "classes.txt";

/**
 * Returns the class names in the `classes.txt` beside a file, as `deno task tsv` writes it.
 *
 * @returns `undefined` if there is none, or it cannot be read
 */
export function readClassNames(path: string): string[] | undefined {
  const file = join(dirname(path), CLASS_NAMES_FILE);
  try {
    if (!Deno.statSync(file).isFile) return undefined; // a pipe would be waited for
    const text = Deno.readTextFileSync(file).replace(/^\uFEFF/, "").replace(/(\r?\n)+$/, "");
    return text === "" ? undefined : text.split(/\r?\n/);
  } catch {
    return undefined;
  }
}

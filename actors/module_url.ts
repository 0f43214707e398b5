/** Modules that a program names to a run. */
import { UserError } from "../errors.ts";

/**
 * Makes sure that a module is named by the text of an absolute URL. It is imported by modules of this library and in Workers, which
 * would resolve a relative one against themselves.
 *
 * @param option what names it, for the error
 * @throws {UserError}
 */
export function requireModuleUrl(option: string, url: unknown): void {
  if (typeof url === "string" && URL.canParse(url)) return;
  throw new UserError(
    `${option}: expected the text of an absolute URL, such as new URL("./mine.ts", import.meta.url).href, found ` +
      (url instanceof URL ? "a URL object" : Deno.inspect(url)),
  );
}

/** The program as ranks must have it in common, for `requireSame`: settings alone do not say what is computed. */
import { fingerprintFile } from "../data/fingerprint.ts";
import config from "../deno.json" with { type: "json" };

/**
 * Returns the versions of program and Deno, and what the plugins' files hold, by their names. Paths of files may differ; what a plugin
 * imports is not looked at.
 */
export async function programFacts(
  { plugins = [] }: { plugins?: readonly string[] },
): Promise<Record<string, unknown>> {
  const contents = plugins.map((url) => url.startsWith("file:") ? fingerprintFile(new URL(url)) : url);
  return {
    "the program's version": config.version,
    "the version of Deno": Deno.version.deno,
    "the plugins' files (--plugin)": await Promise.all(contents),
  };
}

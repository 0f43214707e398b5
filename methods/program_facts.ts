/** The program beside its settings, which alone do not say what is computed: for ranks, and for runs that are gone on with. */
import { fingerprintFile, fingerprintTexts } from "../data/fingerprint.ts";
import config from "../deno.json" with { type: "json" };
import type { Term } from "../models/checkpoint/run_terms.ts";
import { contentTerm, factsOf } from "./terms.ts";

/** A run's plugins, as texts of their URLs. */
interface WithPlugins {
  plugins?: readonly string[];
}

/** Of what the plugins' files hold, in their order; of the URL where it is no file. `null` where there are none. */
async function fingerprintPlugins({ plugins = [] }: WithPlugins): Promise<string | null> {
  if (plugins.length === 0) return null;
  const contents = plugins.map((url) => url.startsWith("file:") ? fingerprintFile(new URL(url)) : url);
  return fingerprintTexts(await Promise.all(contents));
}

function pluginTerm(fingerprint: string | null): Term {
  return { ...contentTerm("plugins", "--plugin", fingerprint, "code"), isEssential: false };
}

/**
 * Returns what the plugins' files hold as a term, of a run that has some. A run may go on with others: an edit need not change what is
 * computed. Paths of files may differ; what a plugin imports is not looked at.
 */
export async function pluginTerms(options: WithPlugins): Promise<Term[]> {
  const fingerprint = await fingerprintPlugins(options);
  return fingerprint === null ? [] : [pluginTerm(fingerprint)];
}

/**
 * Returns the versions of program and Deno, and what the plugins' files hold, by their names: for `requireSame`. Paths of files may
 * differ; what a plugin imports is not looked at.
 */
export async function programFacts(options: WithPlugins): Promise<Record<string, unknown>> {
  return {
    "the program's version": config.version,
    "the version of Deno": Deno.version.deno,
    ...factsOf([pluginTerm(await fingerprintPlugins(options))]),
  };
}

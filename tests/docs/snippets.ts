/**
 * The programs in the documentation, as files that Deno can check and run.
 *
 *     deno run -A tests/docs/snippets.ts FOLDER
 *
 * writes them into a folder, for `deno check --config deno.json FOLDER`.
 */
import { assertEquals } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** Folder of the checkout. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** How many programs each page, or the comments of a module, have. */
const PAGES = {
  "README.md": 1,
  "docs/library.md": 3,
  "docs/pretraining.md": 1,
  "docs/extending.md": 17,
  "docs/tutorial.md": 1,
  "actors/runtime/mod.ts": 2,
};

/** What the comment of a module imports from this tree, by a name that a reader chooses. */
const RUNTIME = { name: "@actors/runtime", path: "actors/runtime/mod.ts" };

/** A piece of code on a page that stands for a file. */
interface Snippet {
  /** Where the page says the file is, from the checkout; a name of the test's where it does not say. */
  path: string;
  code: string;
}

/** The TypeScript and WGSL of a page, or of the comments of a module. A first line such as `// models/vgg.ts` says which file it is. */
function snippetsOf(page: string): Snippet[] {
  const written = Deno.readTextFileSync(join(ROOT, page));
  const text = page.endsWith(".ts") ? written.replaceAll(/^ \* ?/gm, "") : written;
  return [...text.matchAll(/^```(?:ts|wgsl)\n([^]*?)^```$/gm)].map(([, code], i) => {
    const [, path] = /^\/\/ (\S+\.(?:ts|wgsl))\n/.exec(code) ?? [];
    return { path: path ?? `${page.replaceAll(/\W/g, "_")}_${i}.ts`, code };
  });
}

/**
 * Writes the code of a page into a folder, each piece where it says it is; what it imports from the checkout is found
 * there.
 *
 * @returns the paths of the TypeScript files
 */
export function writeSnippets(page: string, folder: string): string[] {
  const snippets = snippetsOf(page);
  const own = new Set(snippets.map(({ path }) => path));
  for (const { path, code } of snippets) {
    const file = join(folder, path);
    Deno.mkdirSync(dirname(file), { recursive: true });
    Deno.writeTextFileSync(
      file,
      code.replaceAll(/(?<=from ")\.[^"]+/g, (specifier) => {
        const target = relative(ROOT, join(ROOT, dirname(path), specifier));
        return own.has(target) ? specifier : pathToFileURL(join(ROOT, target)).href;
      }).replaceAll(`"${RUNTIME.name}"`, `"${pathToFileURL(join(ROOT, RUNTIME.path)).href}"`),
    );
  }
  return snippets.map(({ path }) => join(folder, path)).filter((path) => path.endsWith(".ts"));
}

/** Writes the code of all pages into a folder, as {@linkcode writeSnippets} does. */
export function writeAllSnippets(folder: string): string[] {
  return Object.entries(PAGES).flatMap(([page, count]) => {
    const paths = writeSnippets(page, folder);
    assertEquals(paths.length, count, page);
    return paths;
  });
}

/** Runs Deno in the checkout, and gives what it wrote; fails where it does. */
export async function deno(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  assertEquals(code, 0, decoder.decode(stdout) + decoder.decode(stderr));
  return decoder.decode(stdout);
}

if (import.meta.main) writeAllSnippets(Deno.args[0]);

/** The programs in the documentation compile, and those that need no data of one's own run. */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** The TypeScript of a page, each piece as a file of its own in a folder, with imports that are found from there. */
function writeSnippets(page: string, folder: string): string[] {
  const text = Deno.readTextFileSync(join(ROOT, page));
  return [...text.matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, code], i) => {
    const path = join(folder, `${page.replaceAll(/\W/g, "_")}_${i}.ts`);
    Deno.writeTextFileSync(path, code.replaceAll('from "./', `from "file://${ROOT}`));
    return path;
  });
}

async function deno(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  assertEquals(code, 0, decoder.decode(stderr));
  return decoder.decode(stdout);
}

Deno.test("the programs in README.md and docs/library.md compile, and an actor runs alone as it says", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    const snippets = ["README.md", "docs/library.md"].flatMap((page) => writeSnippets(page, folder));
    assertEquals(snippets.length, 4);
    await deno("check", "--quiet", "--config", "deno.json", ...snippets);
    const alone = snippets.find((path) => Deno.readTextFileSync(path).includes("spawnActor"))!;
    const text = await deno("run", "--quiet", "-A", "--no-check", "--config", "deno.json", alone);
    assertEquals(text, "0 100\n1 100\n2 100\n{ pictures: 300 }\n");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

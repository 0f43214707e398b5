/** What docs/architecture.md says of the tree is so. */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { join, relative } from "node:path";
import { read } from "./commands.ts";
import { ROOT } from "./snippets.ts";

/** What each room imports, but for types: those below it on the page, and what `ui` takes. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  kernels: [],
  data: [],
  models: ["kernels", "data"],
  actors: ["models", "kernels", "data"],
  methods: ["actors", "models", "kernels", "data"],
  ui: ["data"],
  cli: ["ui", "methods", "actors", "models", "kernels", "data"],
};

function* sourcesOf(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = join(folder, name);
    if (isDirectory) yield* sourcesOf(path);
    else if (name.endsWith(".ts")) yield path;
  }
}

for (const [room, others] of Object.entries(ARROWS)) {
  Deno.test(`docs/architecture.md: ${room} imports only what is below it`, () => {
    const rooms = new Set<string>();
    for (const path of sourcesOf(join(ROOT, room))) {
      const text = Deno.readTextFileSync(path).replaceAll(/^(import|export) type [^;]*;$/gm, "");
      for (const [, specifier] of text.matchAll(/^(?:import|export|\}) .*from "(\.[^"]+)"/gm)) {
        const [other] = relative(ROOT, join(path, "..", specifier)).split("/");
        if (Object.hasOwn(ARROWS, other) && other !== room) rooms.add(other);
      }
    }
    assertEquals([...rooms].filter((other) => !others.includes(other)), []);
  });
}

Deno.test("docs/architecture.md: the way of one batch is a list of at most 25 files", () => {
  const [, section] = /^## The way of one batch\n([^]*?)^## /m.exec(read("docs/architecture.md"))!;
  const files = [...section.matchAll(/^(\d+)\. `([\w/]+\.ts)`/gm)].map(([, number, path], i) => {
    assertEquals(Number(number), i + 1, path);
    assert(Deno.statSync(join(ROOT, path)).isFile, path);
    return path;
  });
  assertLessOrEqual(files.length, 25);
  assertEquals(new Set(files).size, files.length);
  assertEquals(files.length, [...section.matchAll(/^\d+\. /gm)].length);
});

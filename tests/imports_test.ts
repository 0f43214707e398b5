/** What imports what: arrows go one way, and no files import each other in a circle. Imports of types count too. */
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { assertEquals } from "@std/assert";
import settings from "../deno.json" with { type: "json" };
import { importedNames } from "./module_imports.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** What the files of a folder, or a file of the root, may import beside their own. A folder's part comes before it. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  "errors.ts": [],
  "actors/runtime": ["errors.ts"],
  kernels: ["errors.ts"],
  data: ["errors.ts"],
  models: ["kernels", "data", "errors.ts"],
  actors: ["actors/runtime", "models", "kernels", "data", "errors.ts"],
  methods: ["actors", "actors/runtime", "models", "kernels", "data", "errors.ts"],
  ui: ["actors", "models", "data", "errors.ts"],
  "mod.ts": ["methods", "actors", "actors/runtime", "models", "kernels", "data", "errors.ts"],
  "parts.ts": ["models", "kernels", "errors.ts"],
  cli: ["mod.ts", "ui", "methods", "actors", "actors/runtime", "models", "kernels", "data", "errors.ts"],
  examples: ["mod.ts", "parts.ts"],
};

/** Folders that no product file may import, and whose files may import anything; only their circles count. */
const TOOLS = ["bench", "links"];

/** Folders of the project that `deno.json` gives a name: `page/` is `ui/page/`. */
const NAMED_FOLDERS = Object.entries(settings.imports).filter(([, path]) => path.startsWith("./"));

/** The path in the project that a file means by a name, or `undefined` for a package. */
function resolveImport(file: string, name: string): string | undefined {
  if (name.startsWith(".")) return join(dirname(file), name);
  const folder = NAMED_FOLDERS.find(([prefix]) => name.startsWith(prefix));
  return folder && join(folder[1], name.slice(folder[0].length));
}

/** The TypeScript files that a file imports, by paths in the project. */
function importsOf(file: string, text: string): string[] {
  const paths = importedNames(text).map((name) => resolveImport(file, name))
    .filter((path) => path !== undefined);
  return [...new Set(paths.filter((path) => path.endsWith(".ts")))];
}

/** Files of the project that are no tests, and what each imports. */
function readProject(): Map<string, string[]> {
  const imports = new Map<string, string[]>();
  const read = (folder: string) => {
    for (const { name, isFile, isDirectory } of Deno.readDirSync(folder)) {
      const path = join(folder, name);
      if (isDirectory && !name.startsWith(".") && !["tests", "output", "node_modules"].includes(name)) {
        read(path);
      }
      if (!isFile || !name.endsWith(".ts")) continue;
      const file = relative(ROOT, path);
      imports.set(file, importsOf(file, Deno.readTextFileSync(path)));
    }
  };
  read(ROOT);
  return imports;
}

/** The circles: for each, the way from one of its files back to it. */
function circlesOf(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const circles: string[] = [];
  const done = new Set<string>();
  const way: string[] = [];
  const follow = (file: string) => {
    const begin = way.indexOf(file);
    if (begin >= 0) circles.push([...way.slice(begin), file].join(" -> "));
    if (begin >= 0 || done.has(file)) return;
    way.push(file);
    for (const other of imports.get(file) ?? []) follow(other);
    way.pop();
    done.add(file);
  };
  for (const file of imports.keys()) follow(file);
  return circles;
}

/** The place of a file in {@linkcode ALLOWED}. */
function placeOf(file: string): string | undefined {
  return Object.keys(ALLOWED).find((place) => file === place || file.startsWith(`${place}/`));
}

/** Imports that are not allowed, and files that have no place. */
function backwardArrows(imports: ReadonlyMap<string, readonly string[]>): string[] {
  return [...imports].filter(([file]) => !TOOLS.includes(file.split("/")[0])).flatMap(([file, others]) => {
    const place = placeOf(file);
    if (place === undefined) return [`${file} has no place in ALLOWED`];
    return others.filter((other) => {
      const to = placeOf(other);
      return to !== place && (to === undefined || !ALLOWED[place].includes(to));
    }).map((other) => `${file} -> ${other}`);
  });
}

Deno.test("no files of the project import each other in a circle", () => {
  assertEquals(circlesOf(readProject()), []);
});

Deno.test("imports go one way: cli, methods, actors, models, kernels", () => {
  const imports = readProject();
  assertEquals(backwardArrows(imports), []);
  for (const place of Object.keys(ALLOWED)) {
    assertEquals(
      [...imports.keys()].some((file) => placeOf(file) === place),
      true,
      `there is nothing in ${place}`,
    );
  }
});

Deno.test("circles and arrows that run back are found, of types too", () => {
  const texts = {
    "kernels/graph.ts": 'import type { Encoder } from "../models/encoder.ts";',
    "models/encoder.ts":
      'import {\n  type Graph,\n} from "../kernels/graph.ts";\nexport * from "./heads.ts";',
    "models/heads.ts": ' * import { x } from "../cli/flags.ts";\nconst text = await import("./heads.ts");',
    "actors/runtime/wire.ts": 'import "../messages.ts";',
    "data/tsv.ts": 'import { z } from "valibot";',
    "ui/page/main.ts": 'import { draw } from "page/charts.ts";',
    "ui/page/charts.ts": 'export type { State } from "page/main.ts";',
    "stray.ts": 'import { tsv } from "./data/tsv.ts";',
  };
  const imports = new Map(Object.entries(texts).map(([file, text]) => [file, importsOf(file, text)]));
  assertEquals(circlesOf(imports), [
    "kernels/graph.ts -> models/encoder.ts -> kernels/graph.ts",
    "models/heads.ts -> models/heads.ts",
    "ui/page/main.ts -> ui/page/charts.ts -> ui/page/main.ts",
  ]);
  assertEquals(backwardArrows(imports), [
    "kernels/graph.ts -> models/encoder.ts",
    "actors/runtime/wire.ts -> actors/messages.ts",
    "stray.ts has no place in ALLOWED",
  ]);
});

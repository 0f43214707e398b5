/**
 * Groups of test files that share one isolate of `deno test`. An isolate of its own costs each file 0.3 s of processor time before
 * it has loaded anything, and its modules besides. In a group they are loaded once, and files share a device and its kernels, a
 * browser, and the process that runs commands. Tests of a group run one after the other, in the order of its files.
 *
 * Files of a group also share registries, and where actors run (one_thread.ts). So a group has files that import one_thread.ts, if
 * only through others, or files that do not. A file with a line that begins with `// Apart:` has an isolate of its own.
 */
import { existsSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { importedNames } from "./module_imports.ts";

/** Files of a group at most: few groups would leave a processor idle behind the last ones. */
const LARGEST = 12;

/** Folders that take longest, in this order: they begin first, so that no processor is idle behind them. */
const FIRST = ["ui", "cli", "docs", "methods", "actors", "examples", "models", "kernels"];

const APART = /^\/\/ Apart: /m;

/** Test files of one folder and the folders in it. */
export interface TestGroup {
  /** Unique among the groups of a run: `kernels_2`. */
  name: string;
  files: string[];
}

/** The test files in a folder and its folders, sorted. */
export function findTestFiles(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) => {
    const path = join(folder, name);
    if (isDirectory) return name.startsWith(".") ? [] : findTestFiles(path);
    return name.endsWith("_test.ts") ? [path] : [];
  }).sort();
}

/** A path with slashes, on Windows too, as modules are imported by. */
const slashed = (path: string) => path.replaceAll("\\", "/");

/** Whether a file imports another one, by itself or through the files of a folder. */
function imports(file: string, other: string, folder: string, seen: Set<string> = new Set()): boolean {
  if (file === other) return true;
  // What looks like an import may be in the text of a program that a test writes.
  if (seen.has(file) || !file.startsWith(folder) || !file.endsWith(".ts") || !existsSync(file)) return false;
  seen.add(file);
  const names = importedNames(Deno.readTextFileSync(file)).filter((name) => name.startsWith("."));
  return names.some((name) => imports(join(dirname(file), name), other, folder, seen));
}

/**
 * Groups the files of each folder of `root` with those below it, in parts of about the same number of files. Those that are apart
 * come first.
 *
 * @param root the folder of all tests, which has one_thread.ts
 */
export function groupTestFiles(files: readonly string[], root: string): TestGroup[] {
  const isApart = (file: string) => APART.test(Deno.readTextFileSync(file));
  const folderOf = (file: string) => slashed(dirname(relative(root, file))).replace(/^\.$/, "tests");
  const firstFolderOf = (file: string) => folderOf(file).split("/")[0];
  const nameOf = (...parts: (string | number)[]) => parts.join("_").replaceAll("/", "_");
  const rank = ({ files: [file] }: TestGroup) => {
    const place = FIRST.indexOf(firstFolderOf(file));
    return place < 0 ? FIRST.length : place;
  };
  const oneThread = join(root, "one_thread.ts");
  const kinds = Map.groupBy(
    files.filter((file) => !isApart(file)),
    (file) => nameOf(firstFolderOf(file), ...imports(file, oneThread, root) ? ["one_thread"] : []),
  );
  const groups = [...kinds].flatMap(([kind, files]) => {
    const parts = Math.ceil(files.length / LARGEST);
    return Array.from({ length: parts }, (_, part) => ({
      name: nameOf(kind, ...parts > 1 ? [part + 1] : []),
      files: files.filter((_, index) => index % parts === part),
    }));
  });
  const apart = files.filter(isApart).map((file) => ({
    name: nameOf(folderOf(file), basename(file, "_test.ts")),
    files: [file],
  }));
  return [...apart, ...groups.toSorted((a, b) => rank(a) - rank(b))];
}

/**
 * Writes a module for each group that imports its files.
 *
 * @param folder is made where it is missing; modules of earlier groups go
 * @returns their paths
 */
export function writeGroups(groups: readonly TestGroup[], folder: string): string[] {
  Deno.mkdirSync(folder, { recursive: true });
  for (const { name } of Deno.readDirSync(folder)) Deno.removeSync(join(folder, name));
  return groups.map(({ name, files }) => {
    const path = join(folder, `${name}.ts`);
    Deno.writeTextFileSync(
      path,
      files.map((file) => `import "${slashed(relative(folder, file))}";\n`).join(""),
    );
    return path;
  });
}

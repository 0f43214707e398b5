/**
 * `deno task test`: runs `deno test` on what it is given, passes everything on, and closes with the tests that were skipped,
 * by name and reason: those that are ignored, and those that found out when they ran (`skip()` of skip.ts). Files of a folder
 * run in groups (groups.ts), but each by itself where the long tests run too.
 *
 *     deno run -A tests/main.ts [flags, files and folders of deno test]
 */
import { TextLineStream } from "@std/streams/text-line-stream";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { findTestFiles, groupTestFiles, type TestGroup, writeGroups } from "./groups.ts";
import { IS_LONG } from "./long.ts";
import { SKIPPED_FILE } from "./skip.ts";
import { describeSkipped, IgnoredTests, type SkippedTest } from "./skipped_tests.ts";
import { UNOPTIMIZED_KERNELS } from "./unoptimized_kernels.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const GROUPS = join(ROOT, "tests", ".groups");

function isFolder(argument: string): boolean {
  try {
    return Deno.statSync(resolve(ROOT, argument)).isDirectory;
  } catch {
    return false;
  }
}

const folders = IS_LONG ? [] : Deno.args.filter(isFolder);
const groups: TestGroup[] = groupTestFiles(
  folders.flatMap((folder) => findTestFiles(resolve(ROOT, folder))),
  join(ROOT, "tests"),
);
const modules = writeGroups(groups, GROUPS);
const args = [...Deno.args.filter((argument) => !folders.includes(argument)), ...modules];

/** The text of a test file and of what it imports from beside it: what decides that a test is long may be there. */
function textOf(file: string): string {
  const read = (path: string) => {
    try {
      return Deno.readTextFileSync(path);
    } catch {
      return "";
    }
  };
  const text = read(file);
  const imported = [...text.matchAll(/from "(\.\/[^"]+)"/g)].map(([, name]) =>
    read(join(dirname(file), name))
  );
  return [text, ...imported].join("\n");
}

const skippedFile = Deno.makeTempFileSync({ prefix: "seed_skipped_" });
const child = new Deno.Command(Deno.execPath(), {
  args: ["test", ...args],
  cwd: ROOT,
  stdout: "piped",
  env: { [SKIPPED_FILE]: skippedFile, ...(IS_LONG ? {} : UNOPTIMIZED_KERNELS) },
}).spawn();
// Ctrl-C reaches the child by itself; this program stays for what it says then.
Deno.addSignalListener("SIGINT", () => {});
const ignored = new IgnoredTests(
  (file) => groups[modules.indexOf(join(ROOT, file))]?.files.map(textOf) ?? [textOf(join(ROOT, file))],
  IS_LONG,
);
const [shown, read] = child.stdout.tee();
const showing = shown.pipeTo(Deno.stdout.writable, { preventClose: true });
for await (const line of read.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream())) {
  ignored.take(line);
}
await showing;
const { code } = await child.status;
const foundOut = Deno.readTextFileSync(skippedFile).split("\n").filter((line) => line !== "")
  .map((line): SkippedTest => {
    const [name, reason] = JSON.parse(line);
    return { name, reason };
  });
Deno.removeSync(skippedFile);
const line = describeSkipped([...ignored.found, ...foundOut]);
if (line !== undefined) console.log(line);
Deno.exit(code);

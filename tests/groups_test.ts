import { assertEquals, assertLessOrEqual } from "@std/assert";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { findTestFiles, groupTestFiles, writeGroups } from "./groups.ts";

/** Files by path, in a folder that is there while a test runs. */
function inFolder(files: Readonly<Record<string, string>>, test: (folder: string) => void) {
  const folder = Deno.makeTempDirSync({ prefix: "seed_groups_" });
  try {
    for (const [path, text] of Object.entries(files)) {
      Deno.mkdirSync(dirname(join(folder, path)), { recursive: true });
      Deno.writeTextFileSync(join(folder, path), text);
    }
    test(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const FILES: Readonly<Record<string, string>> = {
  "a_test.ts": "",
  "one_thread.ts": "",
  "z_test.ts": "// Apart: it stands alone.\n",
  "ui/page_test.ts": "",
  "ops/run.ts": 'import "../one_thread.ts";\n',
  "ops/b_test.ts": 'import {\n  run,\n} from "./run.ts";\n',
  "ops/c_test.ts": "// Apart: it counts what is registered.\n",
  "ops/deep/e_test.ts": "",
  "ops/d_test.ts": 'const text = "import ../one_thread.ts";\n',
  ".groups/ops.ts": "",
  ".groups/old_test.ts": "",
};

Deno.test("a group has files of one folder and what is in it, all of one kind, and long folders come first", () => {
  inFolder(FILES, (folder) => {
    const groups = groupTestFiles(findTestFiles(folder), folder);
    const named = groups.map((
      { name, files },
    ) => [name, ...files.map((file) => file.slice(folder.length + 1))]);
    assertEquals(named, [
      ["ops_c", "ops/c_test.ts"],
      ["tests_z", "z_test.ts"],
      ["ui", "ui/page_test.ts"],
      ["tests", "a_test.ts"],
      ["ops_one_thread", "ops/b_test.ts"],
      ["ops", "ops/d_test.ts", "ops/deep/e_test.ts"],
    ]);
  });
});

Deno.test("many files of a folder are several groups of about the same size", () => {
  const files = Array.from({ length: 25 }, (_, i) => [`ops/${String(i).padStart(2, "0")}_test.ts`, ""]);
  inFolder(Object.fromEntries(files), (folder) => {
    const groups = groupTestFiles(findTestFiles(folder), folder);
    assertEquals(groups.map(({ name, files }) => [name, files.length]), [
      ["ops_1", 9],
      ["ops_2", 8],
      ["ops_3", 8],
    ]);
  });
});

Deno.test("a group's module imports its files, and modules of earlier groups go", () => {
  inFolder(FILES, (folder) => {
    const groups = [{ name: "ops", files: [join(folder, "ops/b_test.ts"), join(folder, "ops/d_test.ts")] }];
    const [path] = writeGroups(groups, join(folder, ".groups"));
    assertEquals(path, join(folder, ".groups", "ops.ts"));
    assertEquals(Deno.readTextFileSync(path), 'import "../ops/b_test.ts";\nimport "../ops/d_test.ts";\n');
    assertEquals([...Deno.readDirSync(join(folder, ".groups"))].map(({ name }) => name), ["ops.ts"]);
  });
});

Deno.test("each test file is in one group, and the names of groups differ", () => {
  const root = fileURLToPath(new URL(".", import.meta.url));
  const files = findTestFiles(root);
  const groups = groupTestFiles(files, root);
  assertEquals(groups.flatMap(({ files }) => files).toSorted(), files);
  assertEquals(new Set(groups.map(({ name }) => name)).size, groups.length);
  assertLessOrEqual(groups.length, files.length / 3);
});

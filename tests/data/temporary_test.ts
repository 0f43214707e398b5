// What is left of files that were being written when their writer was killed.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  FileWriteError,
  replaceFile,
  replaceTextFile,
  replaceTextFileSync,
} from "../../data/replace_file.ts";
import { makeTemporaryFolder, openTemporary, removeStaleTemporaries } from "../../data/temporary.ts";

const WRITER = fileURLToPath(new URL("./killed_writer.ts", import.meta.url));

/** A process that has written half of a file, or has a temporary folder. */
async function startWriter(target: string, what: "file" | "folder" = "file"): Promise<{
  kill(): Promise<void>;
  end(): Promise<boolean>;
}> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-read", "--allow-write", WRITER, target, what],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  assertEquals(new TextDecoder().decode((await reader.read()).value), "writing\n");
  const closeOutput = () => reader.cancel();
  return {
    async kill() {
      child.kill("SIGKILL");
      await child.status;
      await closeOutput();
      await child.stdin.close().catch(() => {});
    },
    async end() {
      const writer = child.stdin.getWriter();
      await writer.write(Uint8Array.of(10));
      await writer.close();
      const { success } = await child.status;
      await closeOutput();
      return success;
    },
  };
}

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "seed_temporary_" });
  try {
    await test(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const namesIn = (folder: string) => Array.from(Deno.readDirSync(folder), ({ name }) => name).toSorted();
const temporariesIn = (folder: string) => namesIn(folder).filter((name) => name.endsWith(".tmp"));

Deno.test("what a killed writer leaves goes with the next write of that file, and a living one's stays", async () => {
  await withFolder(async (folder) => {
    const [target, other] = [join(folder, "out.npy"), join(folder, "out.names.csv")];
    const [killed, elsewhere, living] = await Promise.all([
      startWriter(target),
      startWriter(other),
      startWriter(target),
    ]);
    await Promise.all([killed.kill(), elsewhere.kill()]);
    const before = temporariesIn(folder);
    assertEquals(before.length, 3, before.join());
    await replaceTextFile(target, "whole");
    const after = temporariesIn(folder);
    assertEquals(after.length, 2, after.join());
    assert(after.every((name) => before.includes(name)));
    assertEquals(after.filter((name) => name.startsWith(".out.npy.")).length, 1);
    assertEquals(Deno.readTextFileSync(target), "whole");
    // The living one is not disturbed, and has the name last.
    assert(await living.end());
    assertEquals(Deno.readTextFileSync(target), "half and half");
    replaceTextFileSync(other, "names");
    assertEquals(namesIn(folder), ["out.names.csv", "out.npy"]);
  });
});

Deno.test("a killed process's temporary folder goes likewise, with what is in it", async () => {
  await withFolder(async (folder) => {
    const target = join(folder, "train.tsv");
    const [killed, living] = await Promise.all([
      startWriter(target, "folder"),
      startWriter(target, "folder"),
    ]);
    await killed.kill();
    assertEquals(temporariesIn(folder).length, 2);
    {
      using own = makeTemporaryFolder(target);
      Deno.writeTextFileSync(join(own.path, "rows.tsv"), "rows");
      // Its own folder is no leftover either, though the same process asks.
      await replaceTextFile(target, "rows");
      assertEquals(temporariesIn(folder).length, 2);
      assertEquals(Deno.readTextFileSync(join(own.path, "rows.tsv")), "rows");
    }
    assert(await living.end());
    // One that was killed before its folder had a lock; and one that is nobody's of ours.
    const empty = join(folder, ".train.tsv.1-00000000.tmp");
    const strange = join(folder, ".train.tsv.2-00000000.tmp");
    for (const path of [empty, strange]) Deno.mkdirSync(path);
    Deno.writeTextFileSync(join(strange, "mine.txt"), "mine");
    removeStaleTemporaries(folder, () => true);
    assertEquals(namesIn(folder), [".train.tsv.2-00000000.tmp", "train.tsv"]);
  });
});

Deno.test("many writers of one file at once, who all look for leftovers, all come to their end", async () => {
  await withFolder(async (folder) => {
    const target = join(folder, "index");
    // Each must be able to write what it holds, and to rename it.
    await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        replaceFile(target, async (file) => {
          await file.write(Uint8Array.of(48 + i % 10));
          removeStaleTemporaries(folder, () => true);
          await file.write(Uint8Array.of(48 + i % 10));
        })),
    );
    assert(/^(\d)\1$/.test(Deno.readTextFileSync(target)));
    assertEquals(namesIn(folder), ["index"]);
  });
});

Deno.test("a write that fails leaves nothing, and says which file it was about", async () => {
  await withFolder(async (folder) => {
    const target = join(folder, "out");
    replaceTextFileSync(target, "before");
    await assertRejects(
      () => replaceFile(target, () => Promise.reject(new Deno.errors.PermissionDenied("no"))),
      FileWriteError,
      `${target}: could not be written`,
    );
    await assertRejects(
      () => replaceFile(join(folder, "no", "out"), () => Promise.resolve()),
      FileWriteError,
    );
    assertEquals([namesIn(folder), Deno.readTextFileSync(target)], [["out"], "before"]);
    // What was not renamed is removed by whoever made it.
    openTemporary(target)[Symbol.dispose]();
    assertEquals(namesIn(folder), ["out"]);
  });
});

Deno.test("no other file of the program makes temporary files", () => {
  const ROOT = fileURLToPath(new URL("../../", import.meta.url));
  const found: string[] = [];
  const look = (folder: string) => {
    for (const { name, isDirectory } of Deno.readDirSync(join(ROOT, folder))) {
      const path = `${folder}/${name}`;
      if (isDirectory) look(path);
      else if (/\.tsx?$/.test(name)) {
        const text = Deno.readTextFileSync(join(ROOT, path));
        if (/\.rename(Sync)?\(|makeTemp(Dir|File)|randomUUID\(\)[^;]*tmp/.test(text)) found.push(path);
      }
    }
  };
  for (const folder of ["actors", "cli", "data", "kernels", "methods", "models", "ui"]) look(folder);
  assertEquals(found.toSorted(), ["data/replace_file.ts", "data/temporary.ts"]);
});

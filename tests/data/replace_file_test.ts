// A file is whole or not there, and on the disk before it has its name.
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import {
  FileWriteError,
  replaceFile,
  replaceFiles,
  replacePartsSync,
  replaceTextFile,
  replaceTextFileSync,
  requireWritable,
  writeAll,
} from "../../data/replace_file.ts";
import { TestFolder } from "./folder.ts";

/** Notes what is asked of the file system, in its order, while some work is done. */
async function spying(work: () => Promise<void>): Promise<string[]> {
  const calls: string[] = [];
  const { sync, syncSync } = Deno.FsFile.prototype;
  const { rename, renameSync } = Deno;
  Deno.FsFile.prototype.syncSync = function (this: Deno.FsFile) {
    calls.push(`sync ${this.statSync().size} bytes`);
    syncSync.call(this);
  };
  Deno.renameSync = (from, to) => {
    calls.push("rename");
    renameSync(from, to);
  };
  Deno.FsFile.prototype.sync = async function (this: Deno.FsFile) {
    const { isDirectory, size } = await this.stat();
    calls.push(isDirectory ? "sync folder" : `sync ${size} bytes`);
    await sync.call(this);
  };
  Deno.rename = async (from, to) => {
    calls.push("rename");
    await rename(from, to);
  };
  try {
    await work();
    return calls;
  } finally {
    Object.assign(Deno.FsFile.prototype, { sync, syncSync });
    Object.assign(Deno, { rename, renameSync });
  }
}

Deno.test("replaceFile() flushes the whole file before it takes its name, and then the folder", async () => {
  using folder = new TestFolder();
  const calls = await spying(() => replaceTextFile(join(folder.path, "a.txt"), "twelve bytes"));
  assertEquals(calls, [
    "sync 12 bytes",
    "rename",
    ...Deno.build.os === "windows" ? [] : ["sync folder"], // it cannot be opened there
  ]);
  assertEquals(Deno.readTextFileSync(join(folder.path, "a.txt")), "twelve bytes");
});

Deno.test("replacePartsSync() flushes the whole file before it takes its name; replaceTextFileSync() does not", async () => {
  using folder = new TestFolder();
  const path = join(folder.path, "a.txt");
  const replace = (work: () => void) => spying(() => Promise.resolve(work()));
  assertEquals(await replace(() => replacePartsSync(path, ["twelve", " bytes"])), [
    "sync 12 bytes",
    "rename",
  ]);
  assertEquals(Deno.readTextFileSync(path), "twelve bytes");
  assertEquals(await replace(() => replaceTextFileSync(path, "six")), ["rename"]);
});

Deno.test("replaceFiles() gives names, in order, when all files are on the disk, and none where one fails", async () => {
  using folder = new TestFolder();
  const paths = ["large.bin", "small.csv"].map((name) => join(folder.path, name));
  const write = ([large, small]: Deno.FsFile[]) => {
    writeAll(small, new Uint8Array(3));
    writeAll(large, new Uint8Array(50));
    return Promise.resolve();
  };
  const calls = await spying(() => replaceFiles(paths, write));
  assertEquals(calls, [
    "sync 50 bytes",
    "sync 3 bytes",
    "rename",
    "rename",
    ...Deno.build.os === "windows" ? [] : ["sync folder"], // it cannot be opened there
  ]);
  assertEquals(paths.map((path) => Deno.statSync(path).size), [50, 3]);
  const fail = ([large]: Deno.FsFile[]) => {
    writeAll(large, new Uint8Array(10));
    return Promise.reject(new TypeError("a bug"));
  };
  await assertRejects(() => replaceFiles(paths, fail), TypeError, "a bug");
  await assertRejects(
    () => replaceFiles([paths[0], join(folder.path, "no/a.txt")], write),
    FileWriteError,
    "no/a.txt: could not be written",
  );
  assertEquals(paths.map((path) => Deno.statSync(path).size), [50, 3]);
  assertEquals([...Deno.readDirSync(folder.path)].length, 2);
});

Deno.test("replaceFile() leaves what was there, and nothing else, where writing fails", async () => {
  using folder = new TestFolder();
  const path = folder.write("a.txt", "before");
  const write = (file: Deno.FsFile) => {
    writeAll(file, new Uint8Array(100));
    return Promise.reject(new TypeError("a bug"));
  };
  await assertRejects(() => replaceFile(path, write), TypeError, "a bug");
  assertEquals([...Deno.readDirSync(folder.path)].map(({ name }) => name), ["a.txt"]);
  assertEquals(Deno.readTextFileSync(path), "before");
  await assertRejects(
    () => replaceTextFile(join(folder.path, "no/a.txt"), ""),
    FileWriteError,
    "does not exist; create it first",
  );
});

Deno.test("no work is done for a file whose name a folder has", async () => {
  using folder = new TestFolder();
  const [path, other] = ["a.txt", "b.txt"].map((name) => join(folder.path, name));
  Deno.mkdirSync(path);
  const link = join(folder.path, "link.txt");
  Deno.symlinkSync(path, link);
  let isBegun = false;
  const begin = () => Promise.resolve(void (isBegun = true));
  for (const name of [path, link]) {
    for (
      const write of [
        () => requireWritable(name),
        () => replaceFile(name, begin),
        () => replaceFiles([other, name], begin),
      ]
    ) {
      await assertRejects(write, FileWriteError, `${name}: could not be written: a folder has that name`);
    }
  }
  assertEquals(isBegun, false);
  assertEquals([...Deno.readDirSync(folder.path)].map(({ name }) => name).sort(), ["a.txt", "link.txt"]);
});

Deno.test("requireWritable() fails as replaceFile() would, and leaves nothing behind", async () => {
  using folder = new TestFolder();
  const path = folder.write("a.txt", "before");
  await requireWritable(path);
  await requireWritable(join(folder.path, "b.txt"));
  assertEquals([...Deno.readDirSync(folder.path)].map(({ name }) => name), ["a.txt"]);
  assertEquals(Deno.readTextFileSync(path), "before");
  await assertRejects(
    () => requireWritable(join(folder.path, "no/a.txt")),
    FileWriteError,
    "does not exist; create it first",
  );
});

Deno.test("replaceFile() writes through a link, which stays one", {
  ignore: Deno.build.os === "windows", // links take rights there
}, async () => {
  using folder = new TestFolder();
  const path = folder.write("a.txt", "before");
  const link = join(folder.path, "link");
  Deno.symlinkSync(path, link);
  await replaceTextFile(link, "after");
  assertEquals([Deno.lstatSync(link).isSymlink, Deno.readTextFileSync(path)], [true, "after"]);
});

Deno.test("writeAll() goes on where one call writes a part only", () => {
  const written: number[] = [];
  const file = {
    writeSync(bytes: Uint8Array) {
      const some = bytes.subarray(0, 3);
      written.push(...some);
      return some.length;
    },
  };
  const bytes = Uint8Array.from({ length: 10 }, (_, i) => i);
  writeAll(file as Deno.FsFile, bytes);
  assertEquals(Uint8Array.from(written), bytes);
});

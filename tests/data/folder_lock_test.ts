import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { FolderIdentity, FolderLostError } from "../../data/folder_identity.ts";
import { FolderLock } from "../../data/folder_lock.ts";
import { UserError } from "../../errors.ts";

/** Runs a test in a folder of its own. */
function inFolder(test: (parent: string) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const parent = Deno.makeTempDirSync({ prefix: "seed-lock-" });
    try {
      await test(parent);
    } finally {
      Deno.removeSync(parent, { recursive: true });
    }
  };
}

Deno.test(
  "FolderLock is held until it is let go of, and a look whether it is held takes it from nobody",
  inFolder((folder) => {
    const lock = FolderLock.take(folder);
    assertMatch(Deno.readTextFileSync(join(folder, ".lock")), new RegExp(`^process ${Deno.pid}, since 20`));
    assert(FolderLock.isHeld(folder));
    assertThrows(
      () => FolderLock.take(folder),
      UserError,
      `another run is writing to this folder (process ${Deno.pid}`,
    );
    lock[Symbol.dispose]();
    assert(!FolderLock.isHeld(folder));
    assertEquals([...Deno.readDirSync(folder)], []);
    // What a killed run left has no effect.
    Deno.writeTextFileSync(
      join(folder, ".lock"),
      "process 1, since then and longer than what is written over it, much longer\n",
    );
    assert(!FolderLock.isHeld(folder));
    using _again = FolderLock.take(folder);
    assertMatch(
      Deno.readTextFileSync(join(folder, ".lock")),
      new RegExp(`^process ${Deno.pid}, since \\S+\n$`),
    );
  }),
);

Deno.test(
  "FolderLock waits for a run that ends, as long as it is told to",
  inFolder(async (folder) => {
    using ending = new DisposableStack();
    const lock = JSON.stringify(import.meta.resolve("../../data/folder_lock.ts"));
    const program = `import { FolderLock } from ${lock};
      const lock = FolderLock.take(${JSON.stringify(folder)});
      postMessage("held");
      setTimeout(() => lock[Symbol.dispose](), 500);`;
    const url = `data:text/javascript,${encodeURIComponent(program)}`;
    const holder = ending.adopt(new Worker(url, { type: "module" }), (worker) => worker.terminate());
    await new Promise((resolve) => holder.onmessage = resolve);
    assertThrows(() => FolderLock.take(folder), UserError, "another run is writing to this folder");
    using _lock = FolderLock.take(folder, 60_000);
    assert(FolderLock.isHeld(folder));
  }),
);

Deno.test(
  "FolderLock follows no link, and changes nothing of what it leads to",
  inFolder((folder) => {
    const [path, target] = [join(folder, ".lock"), join(folder, "weights.pth")];
    Deno.writeTextFileSync(target, "weights of a month");
    for (const make of [() => Deno.symlinkSync(target, path), () => Deno.linkSync(target, path)]) {
      make();
      assertThrows(
        () => FolderLock.take(folder),
        UserError,
        `${path}: expected the lock file of a run, found a link to another file`,
      );
      assertEquals(FolderLock.isHeld(folder), false);
      Deno.removeSync(path);
    }
    Deno.symlinkSync(join(folder, "nowhere"), path);
    assertThrows(() => FolderLock.take(folder), UserError, "found a link to another file");
    Deno.removeSync(path);
    Deno.mkdirSync(path);
    assertThrows(() => FolderLock.take(folder), UserError, "found a folder; remove it");
    Deno.removeSync(path);
    assertEquals(Deno.readTextFileSync(target), "weights of a month");
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["weights.pth"]);
  }),
);

Deno.test(
  "FolderLock leaves no file where nothing can be written into it",
  inFolder((folder) => {
    const { writeSync } = Deno.FsFile.prototype;
    Deno.FsFile.prototype.writeSync = () => {
      throw new Error("No space left on device (os error 28)");
    };
    try {
      assertThrows(() => FolderLock.take(folder), Error, "os error 28");
    } finally {
      Deno.FsFile.prototype.writeSync = writeSync;
    }
    assertEquals([...Deno.readDirSync(folder)], []);
  }),
);

Deno.test(
  "FolderLock leaves the lock alone of a folder that was put in the place of its own",
  inFolder((parent) => {
    const folder = join(parent, "run");
    Deno.mkdirSync(folder);
    const lock = FolderLock.take(folder);
    Deno.renameSync(folder, join(parent, "moved"));
    Deno.mkdirSync(folder);
    using other = FolderLock.take(folder);
    lock[Symbol.dispose]();
    assert(FolderLock.isHeld(folder));
    other.identity.check();
  }),
);

Deno.test(
  "FolderIdentity notices that a folder was removed, moved, or replaced, again and again",
  inFolder(async (parent) => {
    const folder = join(parent, "run");
    Deno.mkdirSync(folder);
    using identity = new FolderIdentity(folder);
    Deno.writeTextFileSync(join(folder, "file"), "");
    assertEquals(identity.find(), undefined);
    Deno.removeSync(folder, { recursive: true });
    assertThrows(
      () => identity.check(),
      FolderLostError,
      `${folder}: the output directory was removed or moved during the run, and no longer exists`,
    );
    // The number of the removed folder is not given to this one while it is open.
    Deno.mkdirSync(folder);
    assertStringIncludes(identity.find()!.message, "and another one is in its place");
    Deno.removeSync(folder);
    Deno.writeTextFileSync(folder, "a file");
    assertStringIncludes(identity.find()!.message, "and another one is in its place");
    assertEquals(FolderIdentity.of(join(parent, "nowhere")), undefined);

    using watch = identity.watch();
    const lost = await new Promise<unknown>((resolve) => {
      const alive = setInterval(() => {}, 1000); // its own timer keeps no program alive
      watch.signal.addEventListener("abort", () => {
        clearInterval(alive);
        resolve(watch.signal.reason);
      });
    });
    assert(lost instanceof FolderLostError);
  }),
);

// Named pipes, devices and sockets in the places of files: to open some of them waits for ever.
import { assertEquals, assertRejects } from "@std/assert";
import { openSources } from "../../data/convert/open_sources.ts";
import { CifarFiles } from "../../data/cifar.ts";
import { findDataset, openDataset, resolveDataset } from "../../data/open_dataset.ts";
import { TsvFile } from "../../data/tsv.ts";
import { UserError } from "../../errors.ts";
import { rowsOf, TestFolder } from "./folder.ts";

/** Makes a named pipe, and returns its path. */
async function makePipe(path: string): Promise<string> {
  const { success } = await new Deno.Command("mkfifo", { args: [path] }).output();
  assertEquals(success, true);
  return path;
}

Deno.test("a named pipe, a device or a socket is called so, and not waited for", async () => {
  using folder = new TestFolder();
  const refuse = (work: () => Promise<unknown>, message: string) => assertRejects(work, UserError, message);
  for (const name of ["pipe", "pipe.tsv", "pipe.bin", "pipe.tar"]) {
    const path = await makePipe(`${folder.path}/${name}`);
    await refuse(() => openDataset(path), `${path}: expected a file or a folder, found a named pipe.`);
    await refuse(() => openSources([path]), "found a named pipe.");
  }
  await refuse(() => resolveDataset("/dev/zero", "train"), "found a device");
  await refuse(() => findDataset("/dev/zero", "test"), "found a device");
  await refuse(
    () => TsvFile.open(`${folder.path}/pipe.tsv`),
    "expected a TSV file, found a named pipe. It must allow random",
  );
  using listener = Deno.listen({ transport: "unix", path: `${folder.path}/socket` });
  await refuse(() => openDataset(`${folder.path}/socket`), "found a socket");
  listener.close();
});

Deno.test("a named pipe in the place of an index, of a CIFAR file or of its names is not waited for", async () => {
  using folder = new TestFolder();
  const tsv = folder.write("a.tsv", rowsOf(2));
  await makePipe(`${folder.path}/a.lineidx`);
  await assertRejects(
    () => TsvFile.open(tsv),
    UserError,
    "expected a file with row offsets, found a named pipe",
  );
  folder.write("data_batch_1.bin", new Uint8Array(3073));
  await makePipe(`${folder.path}/batches.meta.txt`);
  using cifar = await CifarFiles.open(folder.path);
  assertEquals([cifar.rowCount, cifar.classNames], [1, undefined]);
  await makePipe(`${folder.path}/data_batch_2.bin`);
  await assertRejects(
    () => CifarFiles.open(folder.path),
    UserError,
    "expected a CIFAR file, found a named pipe",
  );
});

import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { UserError } from "../../../errors.ts";
import { type Dtype, DTYPES } from "../../../models/checkpoint/dtype.ts";
import type { TensorRef } from "../../../models/checkpoint/tensor_ref.ts";
import { type CheckpointFile, openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import {
  OrderedDict,
  TensorValue,
  torchDict,
  type TorchValue,
} from "../../../models/checkpoint/torch_value.ts";
import { FileWriteError } from "../../../data/replace_file.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import { referenceJson, referencePath } from "../../reference.ts";
import { assertMatchesReference, withFolder } from "./fixtures.ts";
import { remountReadOnly, withMount } from "../../with_mount.ts";

function tensor(file: CheckpointFile, key: string): TensorRef {
  return (file.value as Map<string, TensorRef>).get(key)!;
}

Deno.test("writeTorchFile() writes what openCheckpointFile() reads back, for every type", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/types.pth.tar`;
    const bytes = (count: number) => Uint8Array.from({ length: count }, (_, i) => i & 1).buffer;
    const values = new OrderedDict();
    for (const dtype of Object.keys(DTYPES) as Dtype[]) {
      values.set(
        dtype,
        new TensorValue(dtype, [2, 3], new DTYPES[dtype].Raw(bytes(6 * DTYPES[dtype].bytes))),
      );
    }
    values.set("scalar", new TensorValue("float32", [], Float32Array.of(2.5)));
    values.set("empty", new TensorValue("float32", [0, 3], new Float32Array()));
    values.set("part", new TensorValue("float32", [2], Float32Array.of(1, 2, 3, 4).subarray(1, 3)));
    await writeTorchFile(path, values);
    using file = await openCheckpointFile(path);
    assertEquals(file.container, "zip");
    assert(file.value instanceof OrderedDict);
    assertEquals([...file.value.keys()], [...values.keys()]);
    for (const [key, value] of values as Map<string, TensorValue>) {
      const read = tensor(file, key);
      assertEquals([read.dtype, read.shape, read.isContiguous], [value.dtype, value.shape, true], key);
      assertEquals(await read.readRaw(), value.data.slice(), key);
    }
    assertEquals(await tensor(file, "part").read(), Float32Array.of(2, 3));
  });
});

for (const name of ["moco", "seed_student", "dtypes"]) {
  Deno.test(`parity: writeTorchFile() copies ${name} from the legacy container without a change`, async () => {
    await withFolder(async (folder) => {
      const path = `${folder}/copy.pth.tar`;
      using original = await openCheckpointFile(referencePath(`checkpoints/${name}.legacy.pth.tar`));
      await writeTorchFile(path, original.value);
      using copy = await openCheckpointFile(path);
      await assertMatchesReference(copy.value, referenceJson(`checkpoints/${name}.expected.json`));
    });
  });
}

Deno.test("writeTorchFile() stores memory that two tensors share once", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/shared.pth.tar`;
    const data = new Float32Array(50_000).fill(1);
    const value = torchDict([
      ["a", new TensorValue("float32", [50_000], data)],
      ["b", new TensorValue("float32", [5, 10_000], data)],
    ]);
    await writeTorchFile(path, value);
    assert(Deno.statSync(path).size < 210_000);
    using file = await openCheckpointFile(path);
    assertEquals(tensor(file, "a").key, tensor(file, "b").key);
    assertEquals(await tensor(file, "b").read(), data);
  });
});

Deno.test("writeTorchFile() gives equal files for equal values", async () => {
  await withFolder(async (folder) => {
    const value = torchDict([["w", new TensorValue("float32", [3], Float32Array.of(1, 2, 3))], ["epoch", 3]]);
    Deno.mkdirSync(`${folder}/again`);
    await writeTorchFile(`${folder}/a.pth.tar`, value);
    await writeTorchFile(`${folder}/again/a.pth.tar`, value);
    assertEquals(Deno.readFileSync(`${folder}/a.pth.tar`), Deno.readFileSync(`${folder}/again/a.pth.tar`));
  });
});

Deno.test("writeTorchFile() replaces a file and leaves nothing else behind", async () => {
  await withFolder(async (folder) => {
    for (const epoch of [1, 2]) await writeTorchFile(`${folder}/a.pth.tar`, torchDict([["epoch", epoch]]));
    using file = await openCheckpointFile(`${folder}/a.pth.tar`);
    assertEquals(file.value, torchDict([["epoch", 2]]));
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["a.pth.tar"]);
  });
});

Deno.test({
  name: "writeTorchFile() writes through a link",
  ignore: Deno.build.os === "windows",
  async fn() {
    await withFolder(async (folder) => {
      Deno.mkdirSync(`${folder}/elsewhere`);
      await writeTorchFile(`${folder}/elsewhere/a.pth.tar`, 1);
      Deno.symlinkSync(`${folder}/elsewhere/a.pth.tar`, `${folder}/latest.pth.tar`);
      await writeTorchFile(`${folder}/latest.pth.tar`, 2);
      assert(Deno.lstatSync(`${folder}/latest.pth.tar`).isSymlink);
      using file = await openCheckpointFile(`${folder}/elsewhere/a.pth.tar`);
      assertEquals(file.value, 2);
    });
  },
});

Deno.test("writeTorchFile() keeps the previous file when a tensor cannot be read half way", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/a.pth.tar`;
    await writeTorchFile(path, "previous");
    const source = Deno.readFileSync(referencePath("checkpoints/moco.legacy.pth.tar"));
    Deno.writeFileSync(`${folder}/source.pth.tar`, source);
    using original = await openCheckpointFile(`${folder}/source.pth.tar`);
    Deno.truncateSync(`${folder}/source.pth.tar`, source.length - 100);
    await assertRejects(
      () => writeTorchFile(path, original.value),
      UserError,
      "source.pth.tar: became shorter",
    );
    using file = await openCheckpointFile(path);
    assertEquals(file.value, "previous");
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), [
      "a.pth.tar",
      "source.pth.tar",
    ]);
  });
});

Deno.test("writeTorchFile() touches nothing when the value is no checkpoint", async () => {
  await withFolder(async (folder) => {
    await assertRejects(
      () => writeTorchFile(`${folder}/a.pth.tar`, { a: 1 } as unknown as TorchValue),
      Error,
    );
    assertEquals([...Deno.readDirSync(folder)], []);
  });
});

Deno.test("writeTorchFile() says that a folder is missing", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/missing/a.pth.tar`;
    await assertRejects(
      () => writeTorchFile(path, null),
      FileWriteError,
      `the folder ${folder}/missing does not exist`,
    );
  });
});

Deno.test("writeTorchFile() says that the name is taken by a folder, and cleans up", async () => {
  await withFolder(async (folder) => {
    Deno.mkdirSync(`${folder}/a.pth.tar`);
    await assertRejects(() => writeTorchFile(`${folder}/a.pth.tar`, null), FileWriteError, "a.pth.tar");
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["a.pth.tar"]);
  });
});

Deno.test("writeTorchFile() survives a full and a read-only disk", async ({ name }) => {
  await withFolder(async (folder) => {
    const disk = `${folder}/disk`;
    await withMount(name, disk, "size=256k", async () => {
      const path = `${disk}/a.pth.tar`;
      await writeTorchFile(path, "previous");
      const large = new TensorValue("float32", [1_000_000], new Float32Array(1_000_000));
      const full = await assertRejects(() => writeTorchFile(path, large), FileWriteError);
      assertStringIncludes(full.message, "no space left");
      assertStringIncludes(full.message, "the previous file is untouched");
      const first = await assertRejects(
        () => writeTorchFile(`${disk}/b.pth.tar`, large),
        FileWriteError,
      );
      assertStringIncludes(first.message, "no file was created");
      await remountReadOnly(disk);
      const readOnly = await assertRejects(() => writeTorchFile(path, "new"), FileWriteError);
      assertStringIncludes(readOnly.message, "is not writable");
      using file = await openCheckpointFile(path);
      assertEquals(file.value, "previous");
      assertEquals([...Deno.readDirSync(disk)].map(({ name }) => name), ["a.pth.tar"]);
    });
  });
});

Deno.test("TensorValue refuses data that does not fit its shape or type", () => {
  assertThrows(
    () => new TensorValue("float32", [2, 2], new Float32Array(3)),
    Error,
    "Float32Array of 4 elements",
  );
  assertThrows(() => new TensorValue("int64", [2], new Float32Array(2)), Error, "BigInt64Array");
});

import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { writeSafetensors } from "../../../models/checkpoint/safetensors.ts";
import { isOfShards } from "../../../models/checkpoint/safetensors_shards.ts";
import type { TensorRef } from "../../../models/checkpoint/tensor_ref.ts";
import { openEncoder } from "../../../models/locate_encoder.ts";
import { referencePath } from "../../reference.ts";
import { vitTest } from "../../vit_files.ts";

const WHOLE = referencePath("vit/checkpoints/dinov2_tiny_hf.safetensors");
const INDEX = "model.safetensors.index.json";
const shard = (number: number) => `model-0000${number}-of-00003.safetensors`;

/** A folder with the checkpoint cut into three files, of which none has the tensor `lost`; the index has it. */
async function cut(lost?: string): Promise<{ path: string } & Disposable> {
  const path = Deno.makeTempDirSync({ prefix: "seed_shards_" });
  using whole = await openCheckpointFile(WHOLE);
  const tensors = [...whole.value as Map<string, TensorRef>];
  const names: Record<string, string> = {};
  for (const number of [1, 2, 3]) {
    const part = tensors.filter((_, i) => i % 3 === number - 1);
    for (const [name] of part) names[name] = shard(number);
    await writeSafetensors(join(path, shard(number)), new Map(part.filter(([name]) => name !== lost)));
  }
  Deno.writeTextFileSync(join(path, INDEX), JSON.stringify({ metadata: {}, weight_map: names }));
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

vitTest(
  "a checkpoint of several safetensors files is read by its index, and by any of the files",
  async () => {
    using folder = await cut();
    using whole = await openEncoder(WHOLE);
    for (const name of [INDEX, shard(1), shard(3)]) {
      using state = await openEncoder(join(folder.path, name));
      assertEquals([...state.tensors.keys()].toSorted(), [...whole.tensors.keys()].toSorted(), name);
      for (const key of ["blocks.1.attn.qkv.weight", "norm.bias"]) {
        assertEquals(await state.tensors.get(key)!.read(), await whole.tensors.get(key)!.read());
      }
      const sizes = [1, 2, 3].map((number) => Deno.statSync(join(folder.path, shard(number))).size);
      assertEquals(state.file.bytes, sizes.reduce((a, b) => a + b));
    }
  },
);

vitTest("a file of several that is missing is named", async () => {
  using folder = await cut();
  const missing = join(folder.path, shard(2));
  Deno.removeSync(missing);
  for (const name of [INDEX, shard(1)]) {
    const error = await assertRejects(() => openCheckpointFile(join(folder.path, name)), CheckpointError);
    assertEquals(error.message, `${missing}: no such file`);
  }
});

vitTest(
  "a tensor of the index that no file has is named, by the index and by any of the files",
  async () => {
    const lost = "embeddings.cls_token"; // of the first file
    using folder = await cut(lost);
    for (const name of [INDEX, shard(1), shard(2)]) {
      const path = join(folder.path, name);
      const error = await assertRejects(() => openCheckpointFile(path), CheckpointError);
      assertEquals(
        error.message,
        `${path}: lacks the tensor "${lost}", which its index has in "${
          shard(1)
        }"; copy or download it again`,
      );
    }
    const index = join(folder.path, INDEX);
    Deno.writeTextFileSync(index, "{");
    await assertRejects(
      () => openCheckpointFile(join(folder.path, shard(1))),
      CheckpointError,
      `${index}: is no index of safetensors files`,
    );
    // Nothing tells then what the files should hold.
    Deno.removeSync(index);
    using file = await openCheckpointFile(join(folder.path, shard(1)));
    assertEquals((file.value as Map<string, TensorRef>).has(lost), false);
  },
);

vitTest("an index that is none, or leaves its folder, is refused", async () => {
  using folder = await cut();
  const index = join(folder.path, INDEX);
  for (
    const [text, problem] of [
      ["[]", "is no index of safetensors files"],
      ["{", "is no index of safetensors files"],
      ['{"weight_map": {"a": 1}}', "is no index of safetensors files"],
      ['{"weight_map": {"a": "../b.safetensors"}}', 'names the file "../b.safetensors"'],
      [JSON.stringify({ weight_map: { a: shard(1), b: WHOLE.split("/").at(-1) } }), "no such file"],
    ]
  ) {
    Deno.writeTextFileSync(index, text);
    await assertRejects(() => openCheckpointFile(index), CheckpointError, problem);
  }
  Deno.writeTextFileSync(index, JSON.stringify({ weight_map: { a: shard(1), b: "twice.safetensors" } }));
  Deno.copyFileSync(join(folder.path, shard(1)), join(folder.path, "twice.safetensors"));
  await assertRejects(() => openCheckpointFile(index), CheckpointError, "in two of its files");
});

vitTest("a path tells whether a checkpoint has more files", () => {
  for (const path of [INDEX, `/a/${shard(1)}`]) assertEquals(isOfShards(path), true, path);
  for (const path of ["model.safetensors", "model-00001-of-00001.safetensors", "index.json", "a.pth"]) {
    assertEquals(isOfShards(path), false, path);
  }
});

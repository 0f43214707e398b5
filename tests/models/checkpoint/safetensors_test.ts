import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { UserError } from "../../../errors.ts";
import { type Dtype, DTYPES } from "../../../models/checkpoint/dtype.ts";
import { writeSafetensors } from "../../../models/checkpoint/safetensors.ts";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import type { TensorRef } from "../../../models/checkpoint/tensor_ref.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { TensorValue } from "../../../models/checkpoint/torch_value.ts";
import { checkpointErrorOf, withFolder } from "./fixtures.ts";

/** A file from its header, as text or as an object, and the bytes behind it. */
function build(header: unknown, data: Uint8Array = new Uint8Array(), length?: bigint): Uint8Array {
  const json = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}

const entry = (shape: number[], begin: number, end: number, dtype = "F32") => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

async function tensorsOf(path: string): Promise<Map<string, TensorValue>> {
  using file = await openCheckpointFile(path);
  assertEquals(file.container, "safetensors");
  const read = new Map<string, TensorValue>();
  for (const [name, tensor] of file.value as Map<string, TensorRef>) {
    read.set(name, new TensorValue(tensor.dtype, tensor.shape, await tensor.readRaw()));
  }
  return read;
}

Deno.test("openCheckpointFile() reads a safetensors file made by hand, by its content and not its name", () =>
  withFolder(async (folder) => {
    const data = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer);
    const header = { "b": entry([2], 16, 24), "a": entry([2, 2], 0, 16), "__metadata__": { format: "pt" } };
    Deno.writeFileSync(`${folder}/model.pth`, build(header, data));
    const tensors = await tensorsOf(`${folder}/model.pth`);
    assertEquals(tensors.get("a")!.data, Float32Array.of(1, 2, 3, 4));
    assertEquals(tensors.get("a")!.shape, [2, 2]);
    assertEquals(tensors.get("b")!.data, Float32Array.of(5, 6));
  }));

Deno.test("writeSafetensors() and back gives the same bits of every element type, for any name", () =>
  withFolder(async (folder) => {
    const path = `${folder}/all.safetensors`;
    const tensors = new Map<string, TensorValue>();
    for (const dtype of Object.keys(DTYPES) as Dtype[]) {
      const { Raw, bytes } = DTYPES[dtype];
      const noise = Uint8Array.from({ length: 6 * bytes }, (_, i) => dtype === "bool" ? i % 2 : i * 37 + 11);
      tensors.set(dtype, new TensorValue(dtype, [2, 3], new Raw(noise.buffer)));
    }
    tensors.set("scalar", new TensorValue("int64", [], BigInt64Array.of(-7n)));
    tensors.set("empty", new TensorValue("float32", [0, 3], new Float32Array()));
    for (const name of ["__proto__", "constructor", "line\nbreak", "nul\0", "\u{1F600}", "12", ""]) {
      tensors.set(name, new TensorValue("uint8", [1], Uint8Array.of(name.length)));
    }
    const seen: number[] = [];
    await writeSafetensors(path, tensors, { note: "x" }, (done) => void seen.push(done));
    assertEquals(seen.at(-1), tensors.size);
    const found = await tensorsOf(path);
    assertEquals(new Set(found.keys()), new Set(tensors.keys()));
    for (const [name, { dtype, shape, data }] of tensors) {
      const tensor = found.get(name)!;
      assertEquals([tensor.dtype, tensor.shape], [dtype, shape], name);
      assertEquals(new Uint8Array(tensor.data.buffer), new Uint8Array(data.buffer), name);
    }
    const start = Deno.readFileSync(path).subarray(0, 8);
    assertEquals(new DataView(start.buffer).getBigUint64(0, true) % 8n, 0n, "the data is aligned");
  }));

Deno.test("loadStateDict() finds an encoder in a safetensors file, with what its metadata says", () =>
  withFolder(async (folder) => {
    const path = `${folder}/moco.safetensors`;
    const weight = new TensorValue("float32", [1, 2], Float32Array.of(1, 2));
    await writeSafetensors(path, new Map([["module.encoder_q.fc.weight", weight]]), {
      arch: "resnet18",
      epoch: "12",
    });
    using state = await loadStateDict(path);
    assertEquals([state.framework, state.arch, state.epoch], ["moco", "resnet18", 12]);
    assertEquals([...state.tensors.keys()], ["fc.weight"]);
  }));

Deno.test("openCheckpointFile() says what is wrong with a safetensors file", async () => {
  const four = new Uint8Array(16);
  const cases: [string, Uint8Array, string][] = [
    ["length beyond the file", build({ a: entry([4], 0, 16) }, four, 5000n), "5000 bytes"],
    ["length of 2^63", build({ a: entry([4], 0, 16) }, four, 1n << 63n), "9223372036854775808 bytes"],
    ["no JSON", build('{"a": oops}', four), "not valid JSON"],
    ["deep JSON", build('{"a":' + "[".repeat(200_000) + "]".repeat(200_000) + "}", four), "file is damaged"],
    ["not UTF-8", build('{"a":1}').map((byte, i) => i === 10 ? 0xff : byte), "not valid JSON"],
    ["entry is a number", build({ a: 5 }), "not a JSON object"],
    ["metadata is a number", build({ "__metadata__": { a: 1 } }), "not a string"],
    ["unknown type", build({ a: entry([4], 0, 16, "F8_E4M3") }, four), "F8_E4M3"],
    ["a billion elements", build({ a: entry([1e9], 0, 16) }, four), "shape [1000000000]"],
    ["beyond 2^53", build({ a: entry([2 ** 40, 2 ** 40], 0, 16) }, four), "shape ["],
    ["negative", build({ a: entry([-4], 0, 16) }, four), "not non-negative integers"],
    ["half", build({ a: entry([0.5], 0, 2) }, four), "not non-negative integers"],
    ["overlap", build({ a: entry([4], 0, 16), b: entry([2], 8, 16) }, four), "byte 16 was expected"],
    ["gap", build({ a: entry([1], 0, 4), b: entry([2], 8, 16) }, four), "byte 4 was expected"],
    ["rest", build({ a: entry([2], 0, 8) }, four), "8 bytes after"],
    ["cut", build({ a: entry([8], 0, 32) }, four), "is truncated"],
    [
      "many dimensions",
      build({ a: entry(new Array(100).fill(1), 0, 4) }, four.subarray(0, 4)),
      "100 dimensions",
    ],
  ];
  await withFolder(async (folder) => {
    for (const [name, bytes, reason] of cases) {
      const path = `${folder}/bad.safetensors`;
      Deno.writeFileSync(path, bytes);
      assertStringIncludes(await checkpointErrorOf(path, openCheckpointFile), reason, name);
    }
  });
});

Deno.test("openCheckpointFile() refuses a header of more than 16 MiB before it is read", () =>
  withFolder(async (folder) => {
    const path = `${folder}/long.safetensors`;
    Deno.writeFileSync(path, build('{"a":1}', new Uint8Array(), BigInt(2 ** 24 + 1)));
    await Deno.truncate(path, 2 ** 24 + 100);
    assertStringIncludes(await checkpointErrorOf(path, openCheckpointFile), "16777216 are allowed");
  }));

Deno.test("a safetensors file that is cut anywhere is refused", () =>
  withFolder(async (folder) => {
    const path = `${folder}/whole.safetensors`;
    const data = Float32Array.from({ length: 300 }, (_, i) => i);
    await writeSafetensors(path, new Map([["conv1.weight", new TensorValue("float32", [10, 30], data)]]));
    const whole = Deno.readFileSync(path);
    for (let percent = 0; percent < 100; percent++) {
      const cut = `${folder}/cut.safetensors`;
      Deno.writeFileSync(cut, whole.subarray(0, Math.floor(whole.length * percent / 100)));
      const error = await openCheckpointFile(cut).then(() => undefined, (reason) => reason);
      assert(error instanceof UserError, `cut at ${percent} %: ${error}`);
    }
  }));

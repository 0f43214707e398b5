import { crc32 } from "node:zlib";
import { assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import { type Dtype, DTYPES } from "../../../models/checkpoint/dtype.ts";
import { type TensorLayout, TensorRef } from "../../../models/checkpoint/tensor_ref.ts";
import { CountingSource } from "./fixtures.ts";

const fail = (problem: string) => new CheckpointError("file", problem);

function tensorIn(
  source: CountingSource,
  dtype: Dtype,
  layout: Partial<TensorLayout> & { shape: number[]; stride: number[] },
  crc32?: number,
): TensorRef {
  const storage = { key: "0", dtype, bytes: source.size, crc32, open: () => Promise.resolve(source) };
  return new TensorRef(storage, { dtype, offset: 0, ...layout }, fail);
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer.slice(0), 0, array.byteLength);
}

Deno.test("TensorRef.read() reads no more than the tensor's own part of a shared storage", async () => {
  const floats = Float32Array.from({ length: 1000 }, (_, i) => i);
  const source = new CountingSource(bytesOf(floats));
  const tensor = tensorIn(source, "float32", { shape: [3, 2], stride: [2, 1], offset: 500 });
  assertEquals(source.bytesRead, 0);
  assertEquals(await tensor.read(), floats.slice(500, 506));
  assertEquals(source.bytesRead, 24);
});

Deno.test("TensorRef.read() reads only the span of a strided view", async () => {
  const floats = Float32Array.from({ length: 1000 }, (_, i) => i);
  const source = new CountingSource(bytesOf(floats));
  const tensor = tensorIn(source, "float32", { shape: [2, 3], stride: [1, 10], offset: 7 });
  assertEquals(await tensor.read(), Float32Array.of(7, 17, 27, 8, 18, 28));
  assertEquals(source.bytesRead, 22 * 4);
});

Deno.test("TensorRef.read() converts long tensors piece by piece", async () => {
  const length = 1_500_001; // several pieces of every type, and a rest
  const cases: [Dtype, ArrayBufferView, (i: number) => number][] = [
    ["float16", new Float16Array(length).map((_, i) => i % 2048), (i) => i % 2048],
    ["bfloat16", Uint16Array.from({ length }, (_, i) => 0x3f80 + (i & 1) * 0x80), (i) => 1 + (i & 1)],
    ["float64", new Float64Array(length).map((_, i) => i + 0.1), (i) => i + 0.1],
    ["int64", new BigInt64Array(length).map((_, i) => BigInt(-i)), (i) => -i],
    ["uint8", new Uint8Array(length).map((_, i) => i), (i) => i & 255],
    ["bool", new Uint8Array(length).map((_, i) => i % 3), (i) => i % 3 === 0 ? 0 : 1],
  ];
  for (const [dtype, array, value] of cases) {
    const source = new CountingSource(bytesOf(array));
    const read = await tensorIn(source, dtype, { shape: [length], stride: [1] }).read();
    assertEquals(read.findIndex((x, i) => x !== Math.fround(value(i) + 0)), -1, dtype);
    assertEquals(source.bytesRead, source.size, dtype);
  }
});

Deno.test("TensorRef.read() keeps the special values of half precision", async () => {
  const halves = Uint16Array.of(0x0000, 0x8000, 0x7c00, 0xfc00, 0x7e00, 0x0001, 0x7bff);
  const read = await tensorIn(new CountingSource(bytesOf(halves)), "float16", { shape: [7], stride: [1] })
    .read();
  assertEquals([...read], [0, -0, Infinity, -Infinity, NaN, 2 ** -24, 65504]);
  const brains = Uint16Array.of(0x8000, 0x7f80, 0xff80, 0x7fc0, 0x0001);
  const brain = await tensorIn(new CountingSource(bytesOf(brains)), "bfloat16", { shape: [5], stride: [1] })
    .read();
  assertEquals([...brain], [-0, Infinity, -Infinity, NaN, 2 ** -133]);
});

Deno.test("TensorRef.readRaw() gives each type its own array", async () => {
  for (const dtype of Object.keys(DTYPES) as Dtype[]) {
    const source = new CountingSource(Uint8Array.from({ length: 16 }, (_, i) => i));
    const shape = [16 / DTYPES[dtype].bytes];
    const raw = await tensorIn(source, dtype, { shape, stride: [1] }).readRaw();
    assertInstanceOf(raw, DTYPES[dtype].Raw);
    assertEquals(new Uint8Array(raw.buffer), Uint8Array.from({ length: 16 }, (_, i) => i));
  }
});

Deno.test("TensorRef takes scalars, empty tensors, dimensions of one, and small expansions", async () => {
  const source = new CountingSource(bytesOf(Float32Array.of(5, 6)));
  const scalar = tensorIn(source, "float32", { shape: [], stride: [], offset: 1 });
  assertEquals([scalar.size, ...await scalar.read()], [1, 6]);
  const empty = tensorIn(source, "float32", { shape: [0, 3], stride: [3, 1], offset: 2 });
  assertEquals([...await empty.read(), ...await empty.readRaw() as Float32Array], []);
  const ones = tensorIn(source, "float32", { shape: [1, 2, 1], stride: [999, 1, 77] });
  assertEquals(ones.isContiguous, true);
  assertEquals([...await ones.read()], [5, 6]);
  const expanded = tensorIn(source, "float32", { shape: [3, 2], stride: [0, 1] });
  assertEquals([...await expanded.read()], [5, 6, 5, 6, 5, 6]);
});

Deno.test("TensorRef checks the CRC-32 of a storage that is read whole", async () => {
  const source = new CountingSource(bytesOf(Float32Array.of(5, 6)));
  const whole = tensorIn(source, "float32", { shape: [2], stride: [1] }, 12345);
  await assertRejects(() => whole.read(), CheckpointError, "CRC-32");
  await assertRejects(() => whole.readRaw(), CheckpointError, "CRC-32");
  const unknown = tensorIn(source, "float32", { shape: [2], stride: [1] }, 0);
  assertEquals([...await unknown.read()], [5, 6]);
});

Deno.test("TensorRef.narrow() gives some rows, of strided tensors too, and reads no others", async () => {
  const values = Float32Array.from({ length: 24 }, (_, i) => i);
  const source = new CountingSource(bytesOf(values));
  const rows = tensorIn(source, "float32", { shape: [5, 2, 2], stride: [4, 2, 1], offset: 4 }).narrow(1, 2);
  assertEquals([rows.shape, [...await rows.read()]], [[2, 2, 2], [8, 9, 10, 11, 12, 13, 14, 15]]);
  assertEquals(source.bytesRead, 32);
  const transposed = tensorIn(source, "float32", { shape: [4, 5], stride: [1, 4] }).narrow(2, 2);
  assertEquals([...await transposed.read()], [2, 6, 10, 14, 18, 3, 7, 11, 15, 19]);
  const whole = tensorIn(source, "float32", { shape: [6, 4], stride: [4, 1] });
  assertEquals([...await whole.narrow(6, 0).read()], []);
  for (const [first, count] of [[-1, 2], [5, 2], [0, -1]]) {
    assertThrows(() => whole.narrow(first, count), RangeError, "of a tensor of shape [6,4]");
  }
  const scalar = tensorIn(source, "float32", { shape: [], stride: [] });
  assertThrows(() => scalar.narrow(0, 1), RangeError);
});

Deno.test("TensorRef.pieces() gives every element once, of transposed tensors and those with gaps too", async () => {
  const length = 5_000_000; // more than one piece
  const source = new CountingSource(Uint8Array.from({ length: length + 6 }, (_, i) => i % 251));
  const sumOf = async (layout: Partial<TensorLayout> & { shape: number[]; stride: number[] }) => {
    let [count, sum] = [0, 0];
    for await (const piece of tensorIn(source, "uint8", layout).pieces()) {
      count += piece.length;
      for (const value of piece) sum += value;
    }
    return [count, sum];
  };
  const expected = (indices: (i: number) => number) => {
    let sum = 0;
    for (let i = 0; i < length; i++) sum += indices(i) % 251;
    return [length, sum];
  };
  assertEquals(await sumOf({ shape: [length], stride: [1], offset: 3 }), expected((i) => i + 3));
  assertEquals(await sumOf({ shape: [2, length / 2], stride: [1, 2], offset: 3 }), expected((i) => i + 3));
  const half = length / 2;
  assertEquals(
    await sumOf({ shape: [2, half], stride: [half + 5, 1] }),
    expected((i) => i < half ? i : i + 5),
  );
});

Deno.test("TensorRef.read() checks the CRC-32 of the storage that a part lies in, once", async () => {
  const floats = Float32Array.from({ length: 300_000 }, (_, i) => i);
  const bytes = bytesOf(floats);
  const layout = { shape: [3, 100_000], stride: [100_000, 1] };
  const tensorWith = (sum: number) => {
    const source = new CountingSource(bytes);
    return { source, tensor: tensorIn(source, "float32", layout, sum) };
  };
  const { source, tensor } = tensorWith(crc32(bytes));
  for (const first of [1, 2, 1]) {
    assertEquals(await tensor.narrow(first, 1).read(), floats.slice(first * 100_000, (first + 1) * 100_000));
  }
  assertEquals(source.bytesRead, bytes.length + 3 * 400_000);
  await tensorWith(0).tensor.narrow(1, 1).read();
  const wrong = tensorWith(12345).tensor;
  for (let i = 0; i < 2; i++) {
    await assertRejects(() => wrong.narrow(1, 1).read(), CheckpointError, "CRC-32");
    await assertRejects(() => wrong.narrow(1, 1).readRaw(), CheckpointError, "CRC-32");
  }
});

Deno.test("TensorRef.read() checks the CRC-32 of tensors that were joined or reshaped", async () => {
  const bytes = bytesOf(Float32Array.of(0, 1, 2, 3, 4, 5));
  const half = tensorIn(new CountingSource(new Uint8Array(4)), "float16", { shape: [1, 2], stride: [2, 1] });
  const rows = { shape: [3, 2], stride: [2, 1] };
  const columns = { shape: [2, 3], stride: [1, 2] };
  for (
    const [layout, change, expected] of [
      [rows, (tensor) => TensorRef.join([tensor, { zeros: [1, 2] }]), [0, 1, 2, 3, 4, 5, 0, 0]],
      [rows, (tensor) => TensorRef.join([half, tensor]), [0, 0, 0, 1, 2, 3, 4, 5]],
      [rows, (tensor) => TensorRef.join([tensor.narrow(2, 1), tensor.narrow(0, 1)]), [4, 5, 0, 1]],
      [rows, (tensor) => TensorRef.join([tensor, tensor]).narrow(4, 1), [2, 3]],
      [rows, (tensor) => tensor.reshaped([6]), [0, 1, 2, 3, 4, 5]],
      [columns, (tensor) => tensor.reshaped([6]), [0, 2, 4, 1, 3, 5]],
      [{ ...rows, shape: [2, 2] }, (tensor) => tensor.reshaped([4]).narrow(2, 2), [2, 3]],
    ] satisfies [Parameters<typeof tensorIn>[2], (tensor: TensorRef) => TensorRef, number[]][]
  ) {
    const changed = (sum: number) => change(tensorIn(new CountingSource(bytes), "float32", layout, sum));
    assertEquals([...await changed(crc32(bytes)).read()], expected);
    await assertRejects(() => changed(12345).read(), CheckpointError, "CRC-32");
  }
});

Deno.test("TensorRef refuses more dimensions than PyTorch has", () => {
  const source = new CountingSource(new Uint8Array(4));
  const many = new Array(65).fill(1);
  assertThrows(
    () => tensorIn(source, "float32", { shape: many, stride: many }),
    CheckpointError,
    "65 dimensions",
  );
});

import { assertEquals, assertThrows } from "@std/assert";
import { ByteReader, MemorySource } from "../../../models/checkpoint/byte_source.ts";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import { pickle } from "../../../models/checkpoint/pickle.ts";
import { OrderedDict, PyFloat, torchDict, type TorchValue } from "../../../models/checkpoint/torch_value.ts";
import { PickleGlobal, unpickle } from "../../../models/checkpoint/unpickle.ts";

const fail = (problem: string) => new CheckpointError("file", problem);
const host = {
  findGlobal: (module: string, name: string) =>
    new PickleGlobal(`${module}.${name}`, () => new OrderedDict()),
  loadPersistent: () => null,
  setState: () => false,
};

function store(): never {
  throw new Error("there are no tensors here");
}

function roundTrip(value: TorchValue): unknown {
  const bytes = pickle(value, store);
  return unpickle(new ByteReader(new MemorySource(bytes), 0, bytes.length, "the pickle", fail), host, fail);
}

Deno.test("pickle() writes integers of every length", () => {
  const edges = [0, 1, 127, 128, 255, 256, 32767, 32768, 65535, 65536].flatMap((
    n,
  ) => [BigInt(n), BigInt(-n)]);
  const powers = [31n, 32n, 39n, 40n, 53n, 63n, 64n, 71n, 72n, 200n].flatMap((n) => [2n ** n, -(2n ** n)]);
  const values = [...edges, ...powers].flatMap((n) => [n - 1n, n, n + 1n]);
  const read = roundTrip(values) as (number | bigint)[];
  assertEquals(read.map(BigInt), values);
});

Deno.test("pickle() tells floats from integers", () => {
  const hex = (value: TorchValue) => [...pickle(value, store)].slice(2, 3);
  assertEquals(hex(1), [0x4b]); // BININT1
  assertEquals(hex(new PyFloat(1)), [0x47]); // BINFLOAT
  assertEquals(hex(0.5), [0x47]);
  const floats = [0.1, -1e-300, NaN, Infinity, -Infinity, 1e300];
  assertEquals(roundTrip(floats), floats);
  assertEquals(roundTrip(new PyFloat(-0)), -0);
});

Deno.test("pickle() writes dicts in their order, nested, with repeated texts", () => {
  const value = torchDict([
    ["b", [null, true, false, "b", "ü 漢 𝄞", ""]],
    ["a", new OrderedDict([["b", torchDict([[0, "a"], [-1, []]])]])],
    ["__proto__", torchDict([])],
  ]);
  assertEquals(roundTrip(value), value);
});

Deno.test("pickle() remembers more than 256 texts", () => {
  const texts = Array.from({ length: 1000 }, (_, i) => `key ${i % 700}`);
  assertEquals(roundTrip(texts), texts);
});

Deno.test("pickle() refuses what has no place in a checkpoint", () => {
  const endless: TorchValue[] = [];
  endless.push(endless);
  assertThrows(() => pickle(endless, store), Error, "nests more than");
  assertThrows(() => pickle(undefined as never, store), Error, "cannot hold undefined");
  assertThrows(() => pickle({ a: 1 } as never, store), Error, "cannot hold");
  assertThrows(() => pickle(new Map([[[], 1]]) as never, store), Error, "a plain value");
});

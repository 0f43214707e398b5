import { assert, assertEquals, assertThrows } from "@std/assert";
import { Random } from "../../../data/random.ts";
import { ByteReader, MemorySource } from "../../../models/checkpoint/byte_source.ts";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import { unpickle } from "../../../models/checkpoint/unpickle.ts";
import { pickleBytes, pickleText } from "./fixtures.ts";

const fail = (problem: string) => new CheckpointError("file", problem);
const host = {
  findGlobal(module: string, name: string): never {
    throw fail(`asks for ${module}.${name}`);
  },
  loadPersistent: (id: unknown) => ({ id }),
  setState: () => false,
};

function read(...parts: (string | number)[]): unknown {
  const source = new MemorySource(pickleBytes(...parts));
  return unpickle(new ByteReader(source, 0, 1 << 20, "the pickle", fail), host, fail);
}

for (
  const [what, pickle, expected] of [
    ["None", "N.", null],
    ["booleans of protocol 0", "(I01\nI00\nl.", [true, false]],
    ["booleans of protocol 2", "(\x88\x89t.", [true, false]],
    ["small integers", "(K\xffM\xff\xffJ\xff\xff\xff\xffI-7\nL8L\nt.", [255, 65535, -1, -7, 8]],
    ["an empty long integer", "\x8a\0.", 0],
    ["integers of 64 bits", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.", 2n ** 63n - 1n],
    ["integers of 128 bits", "L-170141183460469231731687303715884105728L\n.", -(2n ** 127n)],
    ["floats", "(G?\xb9\x99\x99\x99\x99\x99\x9aF-2.5e-3\nFinf\nt.", [0.1, -0.0025, Infinity]],
    ["texts", `(${pickleText("a")}\x8c\x02\xc3\xbcU\x01bVc\nS'd'\nt.`, ["a", "ü", "b", "c", "d"]],
    ["byte strings of Python 2 that are not UTF-8", "U\x02\xff\xfe.", "\xff\xfe"],
    ["bytes", "C\x02\xff\x00.", Uint8Array.of(255, 0)],
    ["tuples", "(K\x01\x85K\x01K\x02\x86K\x01K\x02K\x03\x87)t.", [[1], [1, 2], [1, 2, 3], []]],
    ["lists", "](K\x01K\x02eK\x03a.", [1, 2, 3]],
    ["sets", "\x8f(K\x01K\x02\x90.", [1, 2]],
    ["dicts", `}${pickleText("a")}K\x01sK\x02Ns.`, new Map<unknown, unknown>([["a", 1], [2, null]])],
    ["dicts of protocol 0", "(K\x01K\x02d.", new Map([[1, 2]])],
    ["memories", "]q\x05K\x01a(h\x05g5\nj\x05\0\0\0t.", [[1], [1], [1]]],
    ["memories of protocol 4", "\x80\x04\x95\x05\0\0\0\0\0\0\0]\x94h\0\x86.", [[], []]],
    ["duplicates and pops", "K\x012N0\x86.", [1, 1]],
    ["persistent ids", "PX\n.", { id: "X" }],
  ] as [string, string, unknown][]
) {
  Deno.test(`unpickle() reads ${what}`, () => assertEquals(read(pickle), expected));
}

Deno.test("unpickle() keeps the order and the odd names of keys", () => {
  const value = read(
    `}(${["9", "1", "__proto__", "constructor"].map((key) => pickleText(key) + "N").join("")}u.`,
  );
  assertEquals([...(value as Map<string, unknown>).keys()], ["9", "1", "__proto__", "constructor"]);
});

for (
  const [what, pickle, reason] of [
    ["an unknown instruction", "\xff.", "instruction 0xff at byte 0"],
    ["instructions that make objects outside of the host", "(iposix\nsystem\n.", "instruction 0x69"],
    ["extension codes", "\x82\x01.", "instruction 0x82"],
    ["a newer protocol", "\x80\x09N.", "protocol 9"],
    ["an empty stack", ".", "no operand"],
    ["a mark in the place of a value", "(.", "no operand"],
    ["a missing mark", "Nt.", "no mark"],
    ["a memory that is not there", "h\x07.", "object 7"],
    ["a call of plain data", "N)R.", "not a function"],
    ["a global", "cposix\nsystem\n.", "asks for posix.system"],
    ["a global of protocol 4", `${pickleText("os")}${pickleText("system")}\x93.`, "asks for os.system"],
    ["items for something that is no list", "NNa.", "not a list"],
    ["items for something that is no dict", "NNNs.", "not a dict"],
    ["a key without a value", "}(Nu.", "without a value"],
    ["a state for plain data", "NNb.", "state"],
    ["a dict as a key", "}}Ns.", "as a key"],
    ["a text longer than the file", "X\xff\xff\xff\xff.", "ends prematurely"],
    ["bytes longer than any memory", "\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "ends prematurely"],
    ["a huge integer", "\x8b\0\0\x01\0.", "integer has 65536 bytes"],
    ["an integer of words", "Ione\n.", '"one" is not an integer'],
    ["a float of words", "Fone\n.", '"one" is not a number'],
    ["a line without an end", "I" + "1".repeat(5000), "a line is too long"],
    ["nothing", "", "ends prematurely"],
  ] as [string, string, string][]
) {
  Deno.test(`unpickle() refuses ${what}`, () => {
    assertThrows(() => read(pickle), CheckpointError, reason);
  });
}

Deno.test("unpickle() stops at its limits of objects and length", () => {
  const reader = (bytes: Uint8Array, limit: number) =>
    new ByteReader(new MemorySource(bytes), 0, limit, "the pickle", fail);
  const marks = new Uint8Array(2 ** 21).fill(0x28);
  assertThrows(() => unpickle(reader(marks, 2 ** 21), host, fail), CheckpointError, "stacks more than");
  const memories = new Uint8Array(2 ** 22).fill(0x94);
  memories[0] = 0x4e;
  assertThrows(() => unpickle(reader(memories, 2 ** 22), host, fail), CheckpointError, "remembers more than");
  assertThrows(() => unpickle(reader(marks, 1000), host, fail), CheckpointError, "longer than 1000 bytes");
});

Deno.test("unpickle() survives random instructions", () => {
  const random = new Random(3, "random pickles");
  const useful = "N\x88\x89KMJG()]}0tuesa\x85\x86\x87q\x94h2lQR\x81b.";
  let read = 0;
  for (let i = 0; i < 3000; i++) {
    const bytes = Uint8Array.from(
      { length: random.integer(1, 60) },
      () =>
        random.chance(0.8) ? useful.charCodeAt(random.integer(0, useful.length - 1)) : random.integer(0, 255),
    );
    try {
      unpickle(new ByteReader(new MemorySource(bytes), 0, 1 << 20, "the pickle", fail), host, fail);
      read++;
    } catch (error) {
      assert(error instanceof CheckpointError, `${bytes} gave ${(error as Error).stack}`);
    }
  }
  assert(read > 30, `only ${read} of 3000 random pickles were whole; the test has lost its meaning`);
});

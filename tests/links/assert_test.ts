import {
  assert,
  assertAlmostEquals,
  assertEquals,
  AssertionError,
  assertRejects,
  assertThrows,
  equal,
} from "@std/assert";

class Point {
  #z: number;
  constructor(public x: number, z = 0) {
    this.#z = z;
  }
  get z(): number {
    return this.#z;
  }
}
class OtherPoint extends Point {}

const bytes = (...values: number[]) => Uint8Array.from(values);
const view = (values: Uint8Array<ArrayBuffer>, start = 0) => new DataView(values.buffer, start);
const circle = (name: string): object => {
  const one: Record<string, unknown> = { name };
  one.self = one;
  return one;
};
const thrownBy = (text: string) => new Error(text);
const [sameKey, equalKey, otherKey] = [{ a: 1 }, { a: 1 }, { a: 2 }];
const call = () => {};

// The verdicts are those of @std/assert 1.0.19, one by one.
const CASES: readonly [name: string, a: unknown, b: unknown, isEqual: boolean][] = [
  ["0 and -0", 0, -0, true],
  ["0 and -0 in a list", [0], [-0], true],
  ["0 and -0 in a typed array", Float32Array.of(0), Float32Array.of(-0), true],
  ["NaN", NaN, NaN, true],
  ["NaN in a typed array", Float32Array.of(NaN), Float32Array.of(NaN), true],
  ["1 and its text", 1, "1", false],
  ["1 and 1n", 1, 1n, false],
  ["null and undefined", null, undefined, false],
  ["null and an empty object", null, {}, false],
  ["one function", call, call, true],
  ["two functions of one text", () => {}, () => {}, false],
  ["a missing key and one that is undefined", {}, { a: undefined }, false],
  ["two keys that are undefined", { a: undefined }, { b: undefined }, false],
  ["keys in another order", { a: 1, b: 2 }, { b: 2, a: 1 }, true],
  ["one symbol as a key", { [Symbol.for("a")]: 1 }, { [Symbol.for("a")]: 1 }, true],
  ["two symbols as keys", { [Symbol("a")]: 1 }, { [Symbol("a")]: 1 }, false],
  ["an object without a prototype", { __proto__: null, a: 1 }, { a: 1 }, true],
  ["a hole and undefined in a list", [, 1], [undefined, 1], false],
  ["lists of two lengths", [1, 2], [1, 2, undefined], false],
  ["a list and an object of its keys", [1], { 0: 1 }, false],
  ["a list and a typed array", [1], bytes(1), false],
  ["typed arrays of two types", bytes(1), Int8Array.of(1), false],
  [
    "typed arrays of one content at two places",
    bytes(9, 1, 2, 3, 4, 5).subarray(1),
    bytes(1, 2, 3, 4, 5),
    true,
  ],
  [
    "typed arrays of two contents at two places",
    bytes(9, 1, 2, 3, 4, 5).subarray(1),
    bytes(1, 2, 3, 4, 6),
    false,
  ],
  ["typed arrays of two first words", bytes(1, 2, 3, 4, 5), bytes(1, 2, 3, 0, 5), false],
  ["typed arrays of two last bytes", bytes(1, 2, 3, 4, 5), bytes(1, 2, 3, 4, 6), false],
  ["typed arrays of two lengths", bytes(1), bytes(1, 2), false],
  ["buffers of one content", bytes(1, 2).buffer, bytes(1, 2).buffer, true],
  ["buffers of two contents", bytes(1, 2).buffer, bytes(1, 3).buffer, false],
  ["buffers of two lengths", new ArrayBuffer(1), new ArrayBuffer(2), false],
  ["a buffer and its view", bytes(1).buffer, bytes(1), false],
  ["shared buffers of two contents", new SharedArrayBuffer(1), new SharedArrayBuffer(2), false],
  ["DataViews of one content", view(bytes(1, 2)), view(bytes(1, 2)), true],
  ["DataViews of two contents", view(bytes(1, 2)), view(bytes(1, 3)), false],
  ["DataViews of two places", view(bytes(1, 1, 1), 1), view(bytes(1, 1, 1), 2), false],
  ["dates", new Date(5), new Date(5), true],
  ["dates of two times", new Date(5), new Date(6), false],
  ["dates that are none", new Date(NaN), new Date(NaN), true],
  ["expressions", /a/g, /a/g, true],
  ["expressions of two flags", /a/g, /a/i, false],
  ["addresses", new URL("http://a/b"), new URL("http://a/b"), true],
  ["two addresses", new URL("http://a/b"), new URL("http://a/c"), false],
  ["search parameters", new URLSearchParams("a=1"), new URLSearchParams("a=1"), true],
  ["other search parameters", new URLSearchParams("a=1"), new URLSearchParams("a=2"), false],
  ["sets in another order", new Set([1, 2]), new Set([2, 1]), true],
  ["sets of two sizes", new Set([1]), new Set([1, 2]), false],
  ["sets of equal objects", new Set([{ a: 1 }, { b: 2 }]), new Set([{ b: 2 }, { a: 1 }]), true],
  ["sets of other objects", new Set([{ a: 1 }]), new Set([{ a: 2 }]), false],
  ["sets of NaN and -0", new Set([NaN, 0]), new Set([-0, NaN]), true],
  ["maps in another order", new Map([["a", 1], ["b", 2]]), new Map([["b", 2], ["a", 1]]), true],
  ["maps of two values", new Map([["a", 1]]), new Map([["a", 2]]), false],
  ["maps whose value is undefined", new Map([["a", undefined]]), new Map([["b", undefined]]), false],
  ["maps of equal keys", new Map([[{ a: 1 }, 1]]), new Map([[{ a: 1 }, 1]]), true],
  ["maps of other keys", new Map([[{ a: 1 }, 1]]), new Map([[{ a: 2 }, 1]]), false],
  ["maps of equal keys, other values", new Map([[{ a: 1 }, 1]]), new Map([[{ a: 1 }, 2]]), false],
  ["maps of one key, other values", new Map([[sameKey, 1]]), new Map([[sameKey, 2]]), false],
  ["a map and a set", new Map(), new Set(), false],
  ["a map with a property", Object.assign(new Map(), { a: 1 }), new Map(), false],
  ["instances", new Point(1), new Point(1), true],
  ["instances of other properties", new Point(1), new Point(2), false],
  ["instances of other getters", new Point(1, 2), new Point(1, 3), false],
  ["an instance and one of a subclass", new Point(1), new OtherPoint(1), false],
  ["an instance and an object of its properties", new Point(1), { x: 1 }, false],
  ["errors made in one place", ...([1, 2].map(() => thrownBy("a")) as [Error, Error]), true],
  ["errors of two messages", ...(["a", "b"].map(thrownBy) as [Error, Error]), false],
  ["errors of two classes", new TypeError("a"), new RangeError("a"), false],
  ["circles", circle("a"), circle("a"), true],
  ["circles of two names", circle("a"), circle("b"), false],
  ["weak references to equal objects", new WeakRef(sameKey), new WeakRef(equalKey), true],
  ["weak references to other objects", new WeakRef(sameKey), new WeakRef(otherKey), false],
  ["boxed numbers", Object(1), Object(1), true],
];

for (const [name, a, b, isEqual] of CASES) {
  Deno.test(`equal() ${isEqual ? "takes" : "tells apart"} ${name}`, () => {
    if (equal(a, b) !== isEqual) throw new Error(`it says ${!isEqual}`);
    if (equal(b, a) !== isEqual) throw new Error(`it says ${!isEqual} the other way round`);
  });
}

Deno.test("equal() refuses collections that cannot be listed", () => {
  assertThrows(() => equal(new WeakMap(), new WeakMap()), TypeError);
  assertThrows(() => equal(new WeakSet(), new WeakSet()), TypeError);
});

Deno.test("assertAlmostEquals() takes NaN and Infinity as themselves alone", () => {
  assertAlmostEquals(NaN, NaN);
  assertAlmostEquals(-Infinity, -Infinity);
  assertThrows(() => assertAlmostEquals(NaN, 1), AssertionError);
  assertThrows(() => assertAlmostEquals(1, NaN), AssertionError);
  assertThrows(() => assertAlmostEquals(Infinity, -Infinity, 1), AssertionError);
  assertThrows(() => assertAlmostEquals(1, 1 + 2e-7), AssertionError);
  assertAlmostEquals(1, 1 + 0.5e-7);
});

Deno.test("assertThrows() wants an error of the class, with the text, and takes anything without a class", () => {
  const fail = () => {
    throw new RangeError("\x1b[31mred\x1b[0m alert");
  };
  assert(assertThrows(fail, RangeError, "red alert") instanceof RangeError);
  assert(assertThrows(fail) instanceof RangeError);
  assertThrows(() => assertThrows(fail, TypeError), AssertionError, "TypeError");
  assertThrows(() => assertThrows(fail, RangeError, "green"), AssertionError, "green");
  assertThrows(() => assertThrows(() => {}), AssertionError);
  assertThrows(() => assertThrows(() => {}, "said so"), AssertionError, "said so");
  const throwText = () => {
    throw "a text";
  };
  assertEquals(assertThrows(throwText), "a text");
  assertThrows(() => assertThrows(throwText, Error), AssertionError);
});

Deno.test("assertRejects() wants a promise that rejects, not a function that throws", async () => {
  const error = new RangeError("low");
  assertEquals(await assertRejects(() => Promise.reject(error), RangeError, "low"), error);
  assertEquals(await assertRejects(() => Promise.reject("a text")), "a text");
  const throwError = (): Promise<void> => {
    throw error;
  };
  await assertRejects(() => assertRejects(throwError), AssertionError, "throws");
  await assertRejects(() => assertRejects(() => Promise.resolve()), AssertionError);
  await assertRejects(() => assertRejects(() => Promise.reject(error), TypeError), AssertionError);
});

/**
 * Stand-in for `@std/assert` 1.0.19: the names used here, with the real package's types and verdicts. The texts of its
 * errors are shorter: they show both values whole, without a coloured difference.
 */

/** Thrown by every assertion that does not hold. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

function show(value: unknown): string {
  return Deno.inspect(value, { depth: 6, iterableLimit: 50, sorted: true });
}

function fail(text: string, msg?: string): never {
  throw new AssertionError(msg ? `${text}: ${msg}` : `${text}.`);
}

/** Asserts that a value is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/** What {@linkcode assertFalse} takes. */
export type Falsy = false | 0 | 0n | "" | null | undefined;

/** Asserts that a value is falsy. */
export function assertFalse(expr: unknown, msg = ""): asserts expr is Falsy {
  if (expr) throw new AssertionError(msg);
}

const TypedArray = Object.getPrototypeOf(Uint8Array);

/** Prototypes of instances that are equal where their texts are: their contents are no properties. */
const COMPARED_AS_TEXT: ReadonlySet<unknown> = new Set(
  [
    RegExp,
    URL,
    URLSearchParams,
    Intl.Locale,
    ...Object.entries((globalThis as { Temporal?: object }).Temporal ?? {})
      .filter(([name]) => name !== "Now").map(([, value]) => value),
  ].map((type) => type.prototype),
);

/** Prototypes whose own properties are no contents of what inherits from them. */
const PLAIN: ReadonlySet<unknown> = new Set([null, Object.prototype, Array.prototype]);

function isObject(value: unknown): value is Record<PropertyKey, unknown> {
  return typeof value === "object" && value !== null;
}

// An object without a prototype counts as a plain one.
function kindOf(value: object): unknown {
  return Object.getPrototypeOf(value) ?? Object.prototype;
}

/** Every name of a property, enumerable or not, down to the plain prototypes: getters of classes too. */
function namesOf(value: object): Set<PropertyKey> {
  const names = new Set<PropertyKey>();
  for (let holder: object | null = value; !PLAIN.has(holder); holder = Object.getPrototypeOf(holder!)) {
    for (const name of Reflect.ownKeys(holder!)) names.add(name);
  }
  return names;
}

/** `0` is `-0` and NaN is NaN, as for the keys of a Map. */
function isSameValue(a: unknown, b: unknown): boolean {
  return a === b || Object.is(a, b);
}

/** Whether two views hold the same bytes: word by word, which is much faster than element by element. */
function haveSameBytes(a: ArrayBufferView, b: ArrayBufferView): boolean {
  if (a.byteLength !== b.byteLength) return false;
  const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView, skipped = 0) =>
    new Uint8Array(buffer, byteOffset + skipped, byteLength - skipped);
  const areWords = (a.byteOffset | b.byteOffset) % 4 === 0;
  const words = areWords ? Math.floor(a.byteLength / 4) : 0;
  if (words > 0) {
    const [x, y] = [
      new Uint32Array(a.buffer, a.byteOffset, words),
      new Uint32Array(b.buffer, b.byteOffset, words),
    ];
    for (let i = 0; i < words; i++) if (x[i] !== y[i]) return false;
  }
  const [x, y] = [bytesOf(a, 4 * words), bytesOf(b, 4 * words)];
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return false;
  return true;
}

function haveSameElements(a: ArrayLike<unknown>, b: ArrayLike<unknown>): boolean {
  return a.length === b.length && Array.prototype.every.call(a, (value, i) => isSameValue(value, b[i]));
}

/**
 * Structural equality: values by `===` or as NaN, buffers and collections by content, other objects of one prototype by
 * all their properties, where a property that is `undefined` is not one that is missing.
 *
 * @throws {TypeError} for a WeakMap or WeakSet, whose contents nobody can list
 */
export function equal(a: unknown, b: unknown): boolean {
  return new Comparison().isEqual(a, b);
}

/** One comparison of two values. */
class Comparison {
  /** What each object is being compared with, or was: who meets the pair again need not look into it. */
  readonly #pairs = new Map<unknown, unknown>();

  isEqual(a: unknown, b: unknown): boolean {
    if (isSameValue(a, b)) return true;
    if (!isObject(a) || !isObject(b)) return false;
    if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
    if (kindOf(a) !== kindOf(b)) return false;
    if (a instanceof TypedArray) {
      const [x, y] = [a, b] as unknown as [Uint8Array, Uint8Array];
      // Other bytes may be equal too: 0 and -0, and NaN.
      return haveSameBytes(x, y) || haveSameElements(x, y);
    }
    if (a instanceof ArrayBuffer || a instanceof SharedArrayBuffer) {
      return haveSameBytes(new Uint8Array(a), new Uint8Array(b as unknown as ArrayBuffer));
    }
    if (a instanceof WeakMap || a instanceof WeakSet) {
      throw new TypeError(`a ${a.constructor.name} cannot be compared: its contents cannot be listed`);
    }
    if (a instanceof WeakRef) return this.isEqual(a.deref(), (b as unknown as WeakRef<WeakKey>).deref());
    if (this.#pairs.get(a) === b) return true;
    if (Object.keys(a).length !== Object.keys(b).length) return false;
    this.#pairs.set(a, b);
    if (a instanceof Set) return this.#haveSameEntries(a, b as unknown as Set<unknown>);
    if (a instanceof Map) return this.#haveSameEntries(a, b as unknown as Map<unknown, unknown>);
    if (COMPARED_AS_TEXT.has(kindOf(a))) return String(a) === String(b);
    return this.#haveSameProperties(a, b);
  }

  /** Keys by identity where all are values; else each entry of `a` needs an equal one in `b`. */
  #haveSameEntries<C extends Set<unknown> | Map<unknown, unknown>>(a: C, b: C): boolean {
    if (a.size !== b.size) return false;
    const valueOf = (one: C, key: unknown) => one instanceof Map ? one.get(key) : key;
    if ([...a.keys()].every((key) => !isObject(key) && typeof key !== "function")) {
      return [...a.keys()].every((key) => b.has(key) && this.isEqual(valueOf(a, key), valueOf(b, key)));
    }
    return [...a].every((entry) => [...b].some((other) => this.isEqual(entry, other)));
  }

  #haveSameProperties(a: Record<PropertyKey, unknown>, b: Record<PropertyKey, unknown>): boolean {
    const names = PLAIN.has(kindOf(a))
      ? [...Reflect.ownKeys({ ...a }), ...Reflect.ownKeys({ ...b })]
      : [...namesOf(a), ...namesOf(b)];
    return names.every((name) => name in a && name in b && this.isEqual(a[name], b[name]));
  }
}

/** Asserts structural equality ({@linkcode equal}). */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!equal(actual, expected)) {
    fail(`Values are not equal.\n    actual: ${show(actual)}\n    expected: ${show(expected)}\n`, msg);
  }
}

/** Asserts that two values are not structurally equal ({@linkcode equal}). */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) fail(`Expected actual: ${show(actual)} not to be: ${show(expected)}`, msg);
}

/** Asserts `Object.is`. */
export function assertStrictEquals<T>(actual: unknown, expected: T, msg?: string): asserts actual is T {
  if (!Object.is(actual, expected)) {
    fail(
      `Values are not strictly equal.\n    actual: ${show(actual)}\n    expected: ${show(expected)}\n`,
      msg,
    );
  }
}

/** Asserts that two numbers differ by at most `tolerance` (default: 1e-7 relative to `expected`). */
export function assertAlmostEquals(actual: number, expected: number, tolerance?: number, msg?: string): void {
  if (Object.is(actual, expected)) return;
  const allowed = tolerance ?? (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  const delta = Math.abs(expected - actual);
  if (delta <= allowed) return;
  const text = (value: number) => Number.isInteger(value) ? value : value.toExponential();
  fail(
    `Expected actual: "${text(actual)}" to be close to "${text(expected)}": delta "${
      text(delta)
    }" is greater than ` +
      `"${text(allowed)}"`,
    msg,
  );
}

/** Asserts `actual > expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual > expected)) throw new AssertionError(msg ?? `Expect ${show(actual)} > ${show(expected)}`);
}

/** Asserts `actual >= expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual >= expected)) throw new AssertionError(msg ?? `Expect ${show(actual)} >= ${show(expected)}`);
}

/** Asserts `actual < expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual < expected)) throw new AssertionError(msg ?? `Expect ${show(actual)} < ${show(expected)}`);
}

/** Asserts `actual <= expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual <= expected)) throw new AssertionError(msg ?? `Expect ${show(actual)} <= ${show(expected)}`);
}

/** Asserts that a value is neither `null` nor `undefined`. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) {
    fail(`Expected actual: "${actual}" to not be null or undefined`, msg);
  }
}

/** Asserts that a text holds another. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (!actual.includes(expected)) fail(`Expected actual: "${actual}" to contain: "${expected}"`, msg);
}

/** Asserts that a text matches an expression. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (!expected.test(actual)) fail(`Expected actual: "${actual}" to match: "${expected}"`, msg);
}

// deno-lint-ignore no-explicit-any -- as in the real package: whatever the class is made from
type Class<Instance> = abstract new (...args: any[]) => Instance;

/** Asserts `instanceof`. */
export function assertInstanceOf<T extends Class<unknown>>(
  actual: unknown,
  expectedType: T,
  msg?: string,
): asserts actual is InstanceType<T> {
  if (!(actual instanceof expectedType)) {
    fail(`Expected object to be an instance of "${expectedType.name}" but was "${typeNameOf(actual)}"`, msg);
  }
}

function typeNameOf(value: unknown): string {
  if (value === null) return "null";
  return typeof value === "object" ? value.constructor?.name ?? "Object" : typeof value;
}

/** What was expected of an error; without a class anything will do that is thrown, as in the real package. */
interface Expectation<E extends Error> {
  errorClass?: Class<E>;
  msgIncludes?: string;
  msg?: string;
}

function readExpectation<E extends Error>(
  [first, second, third]: [first?: Class<E> | string, second?: string, third?: string],
): Expectation<E> {
  return typeof first === "string" ? { msg: first } : { errorClass: first, msgIncludes: second, msg: third };
}

// Colours are no part of a message.
function plain(text: string): string {
  // deno-lint-ignore no-control-regex -- it is escape sequences that are looked for
  return text.replace(/\x1b\[[0-9;]*m/g, "");
}

function checkError<E extends Error>(
  error: unknown,
  cameBy: "thrown" | "rejected",
  { errorClass, msgIncludes, msg }: Expectation<E>,
): void {
  if (errorClass === undefined) return;
  if (!(error instanceof Error)) fail(`A non-Error object was ${cameBy}`, msg);
  if (!(error instanceof errorClass)) {
    fail(
      `Expected error to be instance of "${errorClass.name}", but was "${error.constructor.name}"`,
      msg,
    );
  }
  if (msgIncludes !== undefined && !plain(error.message).includes(plain(msgIncludes))) {
    const [wanted, found] = [msgIncludes, error.message].map((text) => JSON.stringify(text));
    fail(`Expected error message to include ${wanted}, but got ${found}`, msg);
  }
}

/** Asserts that a function throws, and returns what it threw. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/** Asserts that a function throws an error of a class, and returns it. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: Class<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows<E extends Error>(
  fn: () => unknown,
  ...rest: [first?: Class<E> | string, msgIncludes?: string, msg?: string]
): unknown {
  const expectation = readExpectation(rest);
  try {
    fn();
  } catch (error) {
    checkError(error, "thrown", expectation);
    return error;
  }
  return fail("Expected function to throw", expectation.msg);
}

/** Asserts that a promise rejects, and resolves to what it rejected with. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/** Asserts that a promise rejects with an error of a class, and resolves to it. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: Class<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects<E extends Error>(
  fn: () => PromiseLike<unknown>,
  ...rest: [first?: Class<E> | string, msgIncludes?: string, msg?: string]
): Promise<unknown> {
  const expectation = readExpectation(rest);
  let promise: PromiseLike<unknown> | undefined;
  try {
    promise = fn();
  } catch {
    // it threw, and so made no promise
  }
  if (typeof promise?.then !== "function") fail("Function throws when expected to reject", expectation.msg);
  try {
    await promise;
  } catch (error) {
    checkError(error, "rejected", expectation);
    return error;
  }
  return fail("Expected function to reject", expectation.msg);
}

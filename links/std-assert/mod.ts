/** Stand-in for `@std/assert`: the names used here, with the real package's types and behaviour. */

/** Thrown by every assertion that does not hold. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

function show(value: unknown): string {
  return Deno.inspect(value, { depth: 6, iterableLimit: 50, sorted: true });
}

function fail(text: string, msg?: string): never {
  throw new AssertionError(msg === undefined || msg === "" ? text : `${text}: ${msg}`);
}

/** Asserts that a value is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/** Asserts that a value is falsy. */
export function assertFalse(expr: unknown, msg = ""): void {
  if (expr) throw new AssertionError(msg);
}

/** Structural equality: primitives by `Object.is`, collections by content, class instances of one constructor. */
export function equal(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (a.constructor !== b.constructor && a.constructor !== undefined && b.constructor !== undefined) {
    return false;
  }
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
  if (a instanceof RegExp && b instanceof RegExp) return String(a) === String(b);
  if (a instanceof Error && b instanceof Error && (a.message !== b.message || a.name !== b.name)) {
    return false;
  }
  if (ArrayBuffer.isView(a) && ArrayBuffer.isView(b)) {
    if (a instanceof DataView || b instanceof DataView) return a.byteLength === b.byteLength;
    const x = a as Uint8Array, y = b as Uint8Array;
    return x.length === y.length && x.every((value, i) => Object.is(value, y[i]));
  }
  if (a instanceof Set && b instanceof Set) {
    if (a.size !== b.size) return false;
    return [...a].every((value) => b.has(value) || [...b].some((other) => equal(value, other)));
  }
  if (a instanceof Map && b instanceof Map) {
    if (a.size !== b.size) return false;
    return [...a].every(([key, value]) => b.has(key) && equal(value, b.get(key)));
  }
  const keys = new Set([...Reflect.ownKeys(a), ...Reflect.ownKeys(b)]);
  for (const key of keys) {
    if (!equal((a as Record<PropertyKey, unknown>)[key], (b as Record<PropertyKey, unknown>)[key])) {
      return false;
    }
  }
  return true;
}

/** Asserts structural equality. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!equal(actual, expected)) {
    fail(`Values are not equal.\n    actual: ${show(actual)}\n    expected: ${show(expected)}\n`, msg);
  }
}

/** Asserts that two values are not structurally equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) fail(`Expected actual: ${show(actual)} not to be: ${show(expected)}.`, msg);
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
  if (!(Math.abs(expected - actual) <= allowed)) {
    fail(
      `Expected actual: "${actual}" to be close to "${expected}": delta "${
        Math.abs(expected - actual)
      }" is greater than "${allowed}"`,
      msg,
    );
  }
}

/** Asserts `actual > expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual > expected)) fail(`Expect ${show(actual)} > ${show(expected)}`, msg);
}

/** Asserts `actual >= expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual >= expected)) fail(`Expect ${show(actual)} >= ${show(expected)}`, msg);
}

/** Asserts `actual < expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual < expected)) fail(`Expect ${show(actual)} < ${show(expected)}`, msg);
}

/** Asserts `actual <= expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual <= expected)) fail(`Expect ${show(actual)} <= ${show(expected)}`, msg);
}

/** Asserts that a value is neither `null` nor `undefined`. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) {
    fail(`Expected actual: "${actual}" to not be null or undefined.`, msg);
  }
}

/** Asserts that a text holds another. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (!actual.includes(expected)) fail(`Expected actual: "${actual}" to contain: "${expected}".`, msg);
}

/** Asserts that a text matches an expression. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (!expected.test(actual)) fail(`Expected actual: "${actual}" to match: "${expected}".`, msg);
}

// deno-lint-ignore no-explicit-any
type AnyConstructor = new (...args: any[]) => any;

/** Asserts `instanceof`. */
export function assertInstanceOf<T extends AnyConstructor>(
  actual: unknown,
  expectedType: T,
  msg?: string,
): asserts actual is InstanceType<T> {
  if (!(actual instanceof expectedType)) {
    fail(`Expected object to be an instance of "${expectedType.name}" but was ${show(actual)}.`, msg);
  }
}

// deno-lint-ignore no-explicit-any
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

function checkError<E extends Error>(
  error: unknown,
  errorClass: ErrorClass<E> | undefined,
  msgIncludes: string | undefined,
  msg?: string,
): E {
  if (!(error instanceof Error)) fail(`A non-Error object was thrown: ${show(error)}`, msg);
  if (errorClass !== undefined && !(error instanceof errorClass)) {
    fail(
      `Expected error to be instance of "${errorClass.name}", but was "${error.constructor.name}": ${error.message}`,
      msg,
    );
  }
  if (msgIncludes !== undefined && !error.message.includes(msgIncludes)) {
    fail(`Expected error message to include ${show(msgIncludes)}, but got ${show(error.message)}`, msg);
  }
  return error as E;
}

/** Asserts that a function throws, and returns what it threw. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  errorClass?: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): E {
  try {
    fn();
  } catch (error) {
    return checkError(error, errorClass, msgIncludes, msg);
  }
  return fail("Expected function to throw.", msg);
}

/** Asserts that a promise rejects, and resolves to what it rejected with. */
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  errorClass?: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E> {
  try {
    await fn();
  } catch (error) {
    return checkError(error, errorClass, msgIncludes, msg);
  }
  return fail("Expected function to reject.", msg);
}

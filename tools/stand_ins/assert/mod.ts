/**
 * Local stand-in for `jsr:@std/assert`: the same names and signatures over `node:assert`.
 *
 * It serves where JSR cannot be reached; without the `links` entry in `deno.json` the original is used.
 *
 * @module
 */

import strict, { AssertionError } from "node:assert/strict";

export { AssertionError };

// deno-lint-ignore no-explicit-any -- a class of errors may have any constructor
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

function note(message: string, reason?: string): string {
  return reason === undefined ? message : `${message}: ${reason}`;
}

/**
 * Fails always.
 *
 * @param message Why.
 * @throws {AssertionError} In every case.
 */
export function fail(message?: string): never {
  throw new AssertionError({ message: note("Failed assertion", message) });
}

/** Fails unless `expression` is truthy. */
export function assert(expression: unknown, message = ""): asserts expression {
  if (!expression) throw new AssertionError({ message });
}

/** Fails unless `expression` is falsy. */
export function assertFalse(expression: unknown, message?: string): asserts expression is false {
  assert(!expression, note("Expected a falsy value", message));
}

/** Fails if `actual` is null or undefined. */
export function assertExists<T>(actual: T, message?: string): asserts actual is NonNullable<T> {
  assert(actual !== undefined && actual !== null, note("Expected a value", message));
}

/** Tells whether two values are equal by content, prototypes included. */
export function equal(left: unknown, right: unknown): boolean {
  try {
    strict.deepStrictEqual(left, right);
    return true;
  } catch {
    return false;
  }
}

/** Fails unless two values are equal by content, prototypes included. */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  strict.deepStrictEqual(actual, expected, message);
}

/** Fails if two values are equal by content. */
export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  strict.notDeepStrictEqual(actual, expected, message);
}

/** Fails unless `Object.is(actual, expected)`. */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  message?: string,
): asserts actual is T {
  strict.strictEqual(actual, expected, message);
}

/** Fails if `Object.is(actual, expected)`. */
export function assertNotStrictEquals<T>(actual: T, expected: T, message?: string): void {
  strict.notStrictEqual(actual, expected, message);
}

/** Fails unless two numbers differ by at most `tolerance`, by default 1e-7 of `expected`. */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  message?: string,
): void {
  if (Object.is(actual, expected)) return;
  const allowed = tolerance ?? (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  const isClose = Math.abs(expected - actual) <= allowed;
  assert(isClose, note(`Expected ${actual} within ${allowed} of ${expected}`, message));
}

/** Fails unless `actual > expected`. */
export function assertGreater<T>(actual: T, expected: T, message?: string): void {
  assert(actual > expected, note(`Expected ${actual} > ${expected}`, message));
}

/** Fails unless `actual >= expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, message?: string): void {
  assert(actual >= expected, note(`Expected ${actual} >= ${expected}`, message));
}

/** Fails unless `actual < expected`. */
export function assertLess<T>(actual: T, expected: T, message?: string): void {
  assert(actual < expected, note(`Expected ${actual} < ${expected}`, message));
}

/** Fails unless `actual <= expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, message?: string): void {
  assert(actual <= expected, note(`Expected ${actual} <= ${expected}`, message));
}

/** Fails unless `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  assert(actual.includes(expected), note(`Expected "${actual}" to contain "${expected}"`, message));
}

/** Fails unless `actual` matches `expected`. */
export function assertMatch(actual: string, expected: RegExp, message?: string): void {
  assert(expected.test(actual), note(`Expected "${actual}" to match ${expected}`, message));
}

/** Fails if `actual` matches `expected`. */
export function assertNotMatch(actual: string, expected: RegExp, message?: string): void {
  assert(!expected.test(actual), note(`Expected "${actual}" not to match ${expected}`, message));
}

/** Fails unless every element of `expected` is, by content, in `actual`. */
export function assertArrayIncludes<T>(
  actual: ArrayLike<T>,
  expected: ArrayLike<T>,
  message?: string,
): void {
  const present = Array.from(actual);
  const missing = Array.from(expected).filter((item) => !present.some((one) => equal(one, item)));
  assert(
    missing.length === 0,
    note(`Missing elements: ${missing.map(String).join(", ")}`, message),
  );
}

/** Fails unless `actual` is an instance of `expected`. */
export function assertInstanceOf<E extends Error>(
  actual: unknown,
  expected: ErrorClass<E>,
  message?: string,
): asserts actual is E {
  const isInstance = actual instanceof expected;
  assert(isInstance, note(`Expected an instance of ${expected.name}: ${String(actual)}`, message));
}

/** Fails unless `error` is of a class and its message contains a text. */
export function assertIsError<E extends Error = Error>(
  error: unknown,
  errorClass?: ErrorClass<E>,
  messageIncludes?: string | RegExp,
  message?: string,
): asserts error is E {
  assertInstanceOf(error, errorClass ?? Error, message);
  if (typeof messageIncludes === "string") {
    assertStringIncludes((error as Error).message, messageIncludes, message);
  } else if (messageIncludes !== undefined) {
    assertMatch((error as Error).message, messageIncludes, message);
  }
}

/** Fails unless `run` throws; returns what it threw. */
export function assertThrows<E extends Error = Error>(
  run: () => unknown,
  errorClass?: ErrorClass<E>,
  messageIncludes?: string,
  message?: string,
): E {
  try {
    run();
  } catch (error) {
    assertIsError(error, errorClass, messageIncludes, message);
    return error as E;
  }
  return fail(note("Expected the function to throw", message));
}

/** Fails unless `run` rejects; resolves to the error. */
export async function assertRejects<E extends Error = Error>(
  run: () => PromiseLike<unknown>,
  errorClass?: ErrorClass<E>,
  messageIncludes?: string,
  message?: string,
): Promise<E> {
  let promise: PromiseLike<unknown>;
  try {
    promise = run();
  } catch (error) {
    fail(note(`Expected a rejection, but the function threw: ${String(error)}`, message));
  }
  try {
    await promise;
  } catch (error) {
    assertIsError(error, errorClass, messageIncludes, message);
    return error as E;
  }
  return fail(note("Expected the function to reject", message));
}

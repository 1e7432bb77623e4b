/**
 * Local stand-in for what tests use of `jsr:@std/assert`: the same names and signatures over `node:assert`.
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

/** Fails unless `run` throws; returns what it threw. */
export function assertThrows(run: () => unknown, message?: string): unknown;
/** The same for an error of a class whose message contains a text. */
export function assertThrows<E extends Error = Error>(
  run: () => unknown,
  errorClass: ErrorClass<E>,
  messageIncludes?: string,
  message?: string,
): E;
export function assertThrows(run: () => unknown, ...expected: Expectation): unknown {
  try {
    run();
  } catch (error) {
    return checked(error, ...expected);
  }
  return fail(note("Expected the function to throw", whyOf(...expected)));
}

/** Fails unless `run` rejects; resolves to the error. */
export function assertRejects(run: () => PromiseLike<unknown>, message?: string): Promise<unknown>;
/** The same for an error of a class whose message contains a text. */
export function assertRejects<E extends Error = Error>(
  run: () => PromiseLike<unknown>,
  errorClass: ErrorClass<E>,
  messageIncludes?: string,
  message?: string,
): Promise<E>;
export async function assertRejects(
  run: () => PromiseLike<unknown>,
  ...expected: Expectation
): Promise<unknown> {
  let promise: PromiseLike<unknown>;
  try {
    promise = run();
  } catch (error) {
    fail(
      note(`Expected a rejection, but the function threw: ${String(error)}`, whyOf(...expected)),
    );
  }
  try {
    await promise;
  } catch (error) {
    return checked(error, ...expected);
  }
  return fail(note("Expected the function to reject", whyOf(...expected)));
}

/** A message; or a class of errors, a part of their message, and a message. */
// deno-lint-ignore no-explicit-any -- a class of errors may be of any error
type Expectation = [first?: string | ErrorClass<any>, part?: string, message?: string];

function whyOf(...[first, , message]: Expectation): string | undefined {
  return typeof first === "string" ? first : message;
}

function checked(error: unknown, ...[errorClass, part, message]: Expectation): unknown {
  if (typeof errorClass !== "function") return error;
  const isInstance = error instanceof errorClass;
  assert(isInstance, note(`Expected a ${errorClass.name}: ${String(error)}`, message));
  if (part !== undefined) assertStringIncludes((error as Error).message, part, message);
  return error;
}

/**
 * Local stand-in for the part of `jsr:@std/testing/mock` that tests here use.
 *
 * @module
 */

import strict from "node:assert/strict";

/** What one call of a spy got and gave. */
export interface SpyCall<Args extends unknown[] = unknown[], Return = unknown> {
  /** Arguments of the call. */
  args: Args;
  /** Result, if the call returned. */
  returned?: Return;
  /** Error, if the call threw. */
  error?: Error;
}

/** A function that remembers its calls. */
export interface Spy<Args extends unknown[] = unknown[], Return = unknown> {
  /** Calls the function. */
  (...args: Args): Return;
  /** The calls so far. */
  readonly calls: SpyCall<Args, Return>[];
}

/** A spy in the place of a method. */
export interface Stub<Args extends unknown[] = unknown[], Return = unknown>
  extends Spy<Args, Return>, Disposable {
  /** Puts the method back. */
  restore(): void;
}

/** Wraps a function so that its calls are remembered. */
export function spy<Args extends unknown[], Return>(
  original: (...args: Args) => Return,
): Spy<Args, Return> {
  const calls: SpyCall<Args, Return>[] = [];
  const wrapped = (...args: Args): Return => {
    const call: SpyCall<Args, Return> = { args };
    calls.push(call);
    try {
      return call.returned = original(...args);
    } catch (error) {
      call.error = error as Error;
      throw error;
    }
  };
  return Object.assign(wrapped, { calls });
}

/** Replaces a method until `restore()` or the end of a `using` scope. */
export function stub<
  Self,
  Name extends keyof Self,
  Args extends unknown[] = Self[Name] extends (...args: infer A) => unknown ? A : never,
  Return = Self[Name] extends (...args: never[]) => infer R ? R : never,
>(self: Self, name: Name, replacement: (...args: Args) => Return): Stub<Args, Return> {
  const original = Object.getOwnPropertyDescriptor(self, name);
  const restore = () => {
    if (original) Object.defineProperty(self, name, original);
    else delete self[name];
  };
  const stubbed = Object.assign(spy(replacement), { restore, [Symbol.dispose]: restore });
  Object.defineProperty(self, name, { value: stubbed, configurable: true, writable: true });
  return stubbed;
}

/** Fails unless a spy was called so many times. */
export function assertSpyCalls<Args extends unknown[], Return>(
  spied: Spy<Args, Return>,
  expectedCalls: number,
): void {
  strict.strictEqual(spied.calls.length, expectedCalls, "Number of calls of the spy");
}

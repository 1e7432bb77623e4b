/**
 * Local stand-in for `jsr:@std/testing/bdd` over `node:test`.
 *
 * @module
 */

import * as nodeTest from "node:test";

/** Body of a suite, test or hook. */
export type Body = () => void | Promise<void>;

/** Registers a suite. */
export function describe(name: string, body: () => void): void {
  nodeTest.describe(name, body);
}

/** Registers a test. */
export function it(name: string, body: Body): void {
  nodeTest.it(name, body);
}

/** Runs once before the tests of the suite. */
export function beforeAll(body: Body): void {
  nodeTest.before(body);
}

/** Runs once after the tests of the suite. */
export function afterAll(body: Body): void {
  nodeTest.after(body);
}

/** Runs before each test of the suite. */
export function beforeEach(body: Body): void {
  nodeTest.beforeEach(body);
}

/** Runs after each test of the suite. */
export function afterEach(body: Body): void {
  nodeTest.afterEach(body);
}

import strict from "node:assert/strict";
import {
  assertAlmostEquals,
  assertArrayIncludes,
  assertEquals,
  AssertionError,
  assertRejects,
  assertThrows,
  equal,
} from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { assertSpyCalls, spy, stub } from "@std/testing/mock";

describe("assert stand-in", () => {
  it("tells equal values from different ones", () => {
    strict.ok(equal({ a: [1, new Float32Array([2])] }, { a: [1, new Float32Array([2])] }));
    strict.ok(!equal(new Float32Array([1]), new Float64Array([1])));
    strict.throws(() => assertEquals([1, 2], [1, 3]), AssertionError);
    assertAlmostEquals(0.1 + 0.2, 0.3);
    strict.throws(() => assertAlmostEquals(1, 1.1), AssertionError);
    strict.throws(() => assertArrayIncludes([1, 2], [3]), AssertionError);
  });

  it("fails when nothing is thrown or the wrong thing is", async () => {
    const raise = () => {
      throw new RangeError("Cannot count: too many");
    };
    strict.equal(assertThrows(raise, RangeError, "too many").message, "Cannot count: too many");
    strict.throws(() => assertThrows(raise, TypeError), AssertionError);
    strict.throws(() => assertThrows(raise, RangeError, "too few"), AssertionError);
    strict.throws(() => assertThrows(() => 1), AssertionError);
    await assertRejects(() => Promise.reject(new TypeError("x")), TypeError, "x");
    await strict.rejects(assertRejects(() => Promise.resolve(1)), AssertionError);
  });
});

describe("mock stand-in", () => {
  it("remembers calls and puts methods back", () => {
    const double = spy((value: number) => 2 * value);
    strict.equal(double(4), 8);
    assertSpyCalls(double, 1);
    strict.deepEqual(double.calls[0], { args: [4], returned: 8 });
    const target = { name: () => "original" };
    {
      using replaced = stub(target, "name", () => "replacement");
      strict.equal(target.name(), "replacement");
      assertSpyCalls(replaced, 1);
    }
    strict.equal(target.name(), "original");
  });
});

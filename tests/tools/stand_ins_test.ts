import {
  assert,
  assertAlmostEquals,
  assertEquals,
  AssertionError,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";

const raise = () => {
  throw new RangeError("Cannot count: too many");
};

Deno.test("assertions tell equal values from different ones", () => {
  assertEquals({ a: [1, new Float32Array([2])] }, { a: [1, new Float32Array([2])] });
  for (
    const check of [
      () => assert(0),
      () => assertEquals([1, 2], [1, 3]),
      () => assertEquals<unknown>(new Float32Array([1]), new Float64Array([1])),
      () => assertNotEquals([1], [1]),
      () => assertStrictEquals([1], [1]),
      () => assertMatch("a", /b/),
      () => assertAlmostEquals(1, 1.1),
    ]
  ) assertThrows(check, AssertionError);
  assertAlmostEquals(0.1 + 0.2, 0.3);
});

Deno.test("assertThrows() fails when nothing is thrown or the wrong thing is", () => {
  assertEquals(assertThrows(raise, RangeError, "too many").message, "Cannot count: too many");
  assertEquals(String(assertThrows(raise)), "RangeError: Cannot count: too many");
  assertThrows(() => assertThrows(raise, TypeError), AssertionError);
  assertThrows(() => assertThrows(raise, RangeError, "too few"), AssertionError);
  const error = assertThrows(() => assertThrows(() => 1, Error, "", "why"), AssertionError);
  assertMatch(error.message, /Expected the function to throw: why/);
});

Deno.test("assertRejects() fails when nothing is rejected or the function itself throws", async () => {
  await assertRejects(() => Promise.reject(new TypeError("x")), TypeError, "x");
  assertEquals(await assertRejects(() => Promise.reject("stop")), "stop");
  await assertRejects(() => assertRejects(() => Promise.resolve(1)), AssertionError);
  await assertRejects(() => assertRejects(raise), AssertionError, "the function threw");
});

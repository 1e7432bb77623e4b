import { assertThrows } from "@std/assert";
import { assertClose } from "./assert_close.ts";

const allowance = { terms: 2, magnitude: 10 };
const limit = 4 * 2 ** -23 * 2 * 10;

Deno.test("assertClose passes up to four roundings per term, and no further", () => {
  assertClose([1, 0], [1 + limit * 0.999, -limit * 0.999], allowance);
  assertThrows(() => assertClose([0], [limit * 1.001], allowance), Error, "1 of 1 differ");
});

Deno.test("assertClose reports the worst element", () => {
  assertThrows(
    () => assertClose([0, 0, 0, 0], [0, 1, 7, 2], allowance),
    Error,
    "3 of 4 differ by more, worst is [2] by 7: actual 0, expected 7",
  );
});

Deno.test("assertClose fails for NaN on either side, wherever it stands", () => {
  assertThrows(() => assertClose([0, NaN], [5, 0], allowance), Error, "worst is [1] by NaN");
  assertThrows(() => assertClose([NaN, 0], [0, 5], allowance), Error, "worst is [0] by NaN");
  assertThrows(() => assertClose([0], [NaN], allowance), Error, "by NaN");
  assertThrows(() => assertClose([NaN], [NaN], allowance), Error, "by NaN");
});

Deno.test("assertClose takes equal infinities as equal and other lengths as wrong", () => {
  assertClose([Infinity], [Infinity], allowance);
  assertThrows(() => assertClose([1], [1, 2], allowance), Error, "Length must be 2");
  assertThrows(() => assertClose([Infinity], [1], allowance), Error, "by Infinity");
});

/**
 * Tests of `analysis/cholesky.ts`.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { solvePositive } from "../../analysis/cholesky.ts";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";

Deno.test("solvePositive() solves systems of any size", () => {
  const random = seededRandom(4);
  for (const size of [1, 2, 7, 16]) {
    const vectors = Array.from({ length: size + 2 }, () => Array.from({ length: size }, random));
    const matrix = Float64Array.from(
      { length: size * size },
      (_, index) =>
        vectors.reduce((sum, one) => sum + one[Math.floor(index / size)]! * one[index % size]!, 0),
    );
    const expected = Float64Array.from({ length: size }, () => random() - 0.5);
    const right = expected.map((_, row) =>
      expected.reduce((sum, value, column) => sum + matrix[row * size + column]! * value, 0)
    );
    const solution = solvePositive(matrix, right);
    solution.forEach((value, index) => assert(Math.abs(value - expected[index]!) < 1e-9));
  }
});

Deno.test("solvePositive() leaves unknowns of dependent columns at 0", () => {
  const solution = solvePositive(
    Float64Array.of(4, 2, 4, 2, 1, 2, 4, 2, 5),
    Float64Array.of(4, 2, 5),
  );
  assertEquals([...solution], [0, 0, 1]);
  assertEquals([...solvePositive(new Float64Array(4), Float64Array.of(0, 0))], [0, 0]);
});

Deno.test("solvePositive() refuses a matrix of another size", () => {
  assertThrows(
    () => solvePositive(new Float64Array(3), new Float64Array(2)),
    RequirementError,
    "the matrix must have length 4: current length is 3",
  );
});

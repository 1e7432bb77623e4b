import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { compensationError } from "../../analysis/error_bound.ts";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";

Deno.test("compensationError() by hand", () => {
  const result = compensationError({
    attention: [0.5, 0.3, 0.2],
    replacement: [0.1, 0.6, 0.4],
    marginal: [1, 2],
    values: [9, 9, 3, 4, 0, 1],
    headDim: 2,
  });
  // e = (.3, .2) = 1 * a, so nothing is orthogonal; change = .3 (3, 4) + .2 (0, 1) = (.9, 1.4)
  const near = (actual: number, expected: number) =>
    assert(Math.abs(actual - expected) < 1e-9, `${actual} against ${expected}`);
  near(result.error, Math.hypot(0.9, 1.4));
  near(result.alpha, 1);
  near(result.orthogonalShare, 0);
  near(result.sigma, 1);
  near(result.valueBound, 5);
  near(result.threshold, 0.3);
  near(result.absoluteBound, 5 * 0.5);
  near(result.expectedBound, 5 * Math.sqrt(0.13));
  near(result.massBound, 5 * Math.sqrt(0.3 * 0.5));
});

Deno.test("compensationError() never exceeds the absolute bound, and the bounds are ordered", () => {
  fc.assert(fc.property(fc.integer(), fc.integer({ min: 1, max: 30 }), (seed, keys) => {
    const random = seededRandom(seed);
    const headDim = 5;
    const draw = (length: number) => Float32Array.from({ length }, random);
    const result = compensationError({
      attention: draw(keys),
      replacement: draw(keys),
      marginal: Array.from({ length: keys }, (_, key) => key).filter(() => random() < 0.5),
      values: draw(keys * headDim),
      headDim,
    });
    assert(result.error <= result.absoluteBound * (1 + 1e-9) + 1e-12);
    assert(result.expectedBound <= result.massBound * (1 + 1e-9) + 1e-12);
    assert(result.orthogonalShare <= 1);
  }));
});

Deno.test("compensationError() is 0 for the same row and without marginal tokens", () => {
  const row = { attention: [0.5, 0.5], values: [1, 2], headDim: 1 };
  for (const marginal of [[0, 1], []]) {
    const result = compensationError({ ...row, replacement: row.attention, marginal });
    assertEquals([result.error, result.sigma, result.absoluteBound], [0, 0, 0]);
  }
  assertThrows(
    () => compensationError({ ...row, replacement: [1], marginal: [] }),
    RequirementError,
  );
  assertThrows(
    () => compensationError({ ...row, replacement: row.attention, marginal: [2] }),
    RequirementError,
  );
});

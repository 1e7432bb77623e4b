import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { RequirementError } from "../../core/check.ts";
import { mean, median, normalCdf, normalQuantile, quantile } from "../../core/stats.ts";
import golden from "./statistics_golden.json" with { type: "json" };

function assertNear(actual: number, expected: number, tolerance = 1e-12): void {
  assert(Math.abs(actual - expected) <= tolerance, `${actual} against ${expected}`);
}

Deno.test("quantile() equals NumPy's default", () => {
  const { values, fractions, expected } = golden.quantiles;
  fractions.forEach((fraction, index) => assertNear(quantile(values, fraction), expected[index]!));
});

Deno.test("mean() and median() of a few numbers", () => {
  assertEquals(mean([1, 2, 6]), 3);
  assertEquals(median([5, 1, 2]), 2);
  assertEquals(median([4, 1, 2, 9]), 3);
  assertEquals(mean(Float32Array.of(1, 3)), 2);
});

Deno.test("mean() and quantile() reject what has no answer", () => {
  assertThrows(() => mean([]), RequirementError);
  assertThrows(() => quantile([], 0.5), RequirementError);
  assertEquals(
    assertThrows(() => quantile([1], 1.5), RequirementError).message,
    "Cannot find a quantile: fraction must lie in [0, 1]: current value is 1.5",
  );
});

Deno.test("normalCdf() equals SciPy's", () => {
  for (const { value, probability } of golden.normal) {
    assertNear(normalCdf(value), probability, 1e-14);
  }
  assertEquals(normalCdf(-40), 0);
  assertEquals(normalCdf(40), 1);
});

Deno.test("normalQuantile() inverts normalCdf()", () => {
  fc.assert(
    fc.property(fc.double({ min: -5, max: 5, noNaN: true }), (value) => {
      assertNear(normalQuantile(normalCdf(value)), value, 1e-8);
    }),
  );
  assertNear(normalQuantile(0.975), 1.959963984540054, 1e-12);
  assertThrows(() => normalQuantile(0), RequirementError);
});

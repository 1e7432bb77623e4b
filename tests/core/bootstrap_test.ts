import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import {
  bootstrapInterval,
  intervalEnds,
  meanInterval,
  ratioInterval,
} from "../../core/bootstrap.ts";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import golden from "./statistics_golden.json" with { type: "json" };

Deno.test("intervalEnds() equals SciPy's on the same resamples", () => {
  for (const { value, estimates, jackknife, method, low, high } of golden.bootstrap) {
    const name = method === "BCa" ? "bca" : "percentile";
    const ends = intervalEnds({ value, estimates, jackknife }, { method: name });
    assert(Math.abs(ends.low - low) < 1e-9, `${method}: ${ends.low} against ${low}`);
    assert(Math.abs(ends.high - high) < 1e-9, `${method}: ${ends.high} against ${high}`);
  }
});

Deno.test("bootstrapInterval() repeats for a seed and moves with it", () => {
  const values = [1, 5, 2, 8, 3, 9];
  assertEquals(meanInterval(values, { seed: 4 }), meanInterval(values, { seed: 4 }));
  assertNotEquals(meanInterval(values, { seed: 4 }), meanInterval(values, { seed: 5 }));
});

Deno.test("meanInterval() covers the true mean about as often as it says", () => {
  const random = seededRandom(11);
  let covered = 0;
  for (let round = 0; round < 300; round++) {
    const values = Array.from({ length: 30 }, () => random() + random() + random());
    const { low, high } = meanInterval(values, { seed: round, resamples: 400 });
    if (low <= 1.5 && 1.5 <= high) covered++;
  }
  assert(covered >= 270 && covered <= 297, `${covered} of 300`);
});

Deno.test("ratioInterval() is the ratio of sums, not the mean of ratios", () => {
  assertEquals(ratioInterval([1, 9], [1, 3]).value, 2.5);
});

Deno.test("bootstrapInterval() gives a point for one context and for equal contexts", () => {
  assertEquals(meanInterval([3]), { value: 3, low: 3, high: 3, n: 1 });
  assertEquals(meanInterval([2, 2, 2]), { value: 2, low: 2, high: 2, n: 3 });
});

Deno.test("bootstrapInterval() rejects no contexts, NaN and a bad level", () => {
  assertEquals(
    assertThrows(() => meanInterval([]), RequirementError).message,
    "Cannot compute an interval: count must be an integer at least 1: current value is 0",
  );
  assertThrows(() => meanInterval([1, NaN]), RequirementError);
  assertThrows(() => meanInterval([1, 2], { level: 1 }), RequirementError);
  assertThrows(() => bootstrapInterval(2, () => 1, { resamples: 0 }), RequirementError);
});

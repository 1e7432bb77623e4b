import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import {
  scoreInterval,
  stratifiedInterval,
  wilsonInterval,
} from "../../analysis/score_intervals.ts";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import golden from "./score_statistics_golden.json" with { type: "json" };

Deno.test("wilsonInterval() equals statsmodels'", () => {
  for (const { right, count, level, low, high } of golden.wilson) {
    const ours = wilsonInterval(right, count, level);
    assert(Math.abs(ours.low - low) < 1e-9 && Math.abs(ours.high - high) < 1e-9, `${right}`);
  }
  assertThrows(() => wilsonInterval(3, 2), RequirementError);
  assertThrows(() => wilsonInterval(0, 0), RequirementError);
});

Deno.test("stratifiedInterval() comes to the ends that all resamples have", () => {
  for (const { groups, value, low, high, deviation, ...options } of golden.stratified) {
    const names = Object.entries(groups).flatMap(([name, values]) => values.map(() => name));
    const average = options.average as "items" | "groups";
    const ours = stratifiedInterval(Object.values(groups).flat(), names, {
      average,
      level: 0.9,
      resamples: 40_000,
    });
    assert(Math.abs(ours.value - value) < 1e-12);
    assert(Math.abs(ours.low - low) < 0.05 * deviation, `${ours.low} against ${low}`);
    assert(Math.abs(ours.high - high) < 0.05 * deviation, `${ours.high} against ${high}`);
  }
});

Deno.test("stratifiedInterval() covers the true mean in groups of two as often as it says", () => {
  const random = seededRandom(5);
  const groups = Array.from({ length: 40 }, (_, item) => `${item >> 1}`);
  let covered = 0;
  for (let round = 0; round < 200; round++) {
    const values = groups.map((group) => Number(group) + random() - 0.5);
    const { low, high } = stratifiedInterval(values, groups, { seed: round, resamples: 300 });
    covered += Number(low <= 9.5 && 9.5 <= high);
  }
  assert(covered >= 178 && covered <= 198, `${covered} of 200`);
});

Deno.test("stratifiedInterval() resamples groups of one item together", () => {
  const groups = ["a", "b", "c", "d"];
  const { low, high } = stratifiedInterval([0, 0.2, 0.6, 1], groups);
  assert(low < 0.3 && high > 0.6);
  const lone = stratifiedInterval([1, 0, 0, 0, 0], ["z", "a", "a", "b", "b"]);
  assert(lone.low < lone.value && lone.value < lone.high);
});

Deno.test("stratifiedInterval() repeats for a seed, and has no width with one item", () => {
  const values = [0.1, 0.5, 0.2, 0.8, 0.33, 0.47];
  const groups = ["a", "a", "a", "b", "b", "b"];
  assertEquals(stratifiedInterval(values, groups), stratifiedInterval(values, groups));
  assertNotEquals(
    stratifiedInterval(values, groups, { seed: 1, resamples: 7 }),
    stratifiedInterval(values, groups, { seed: 2, resamples: 7 }),
  );
  assertEquals(stratifiedInterval([0.3], ["a"]), { value: 0.3, low: 0.3, high: 0.3, n: 1 });
  assertThrows(() => stratifiedInterval([], []), RequirementError);
  assertThrows(() => stratifiedInterval([1], ["a", "b"]), RequirementError);
  assertThrows(() => stratifiedInterval([NaN, 1], ["a", "b"]), RequirementError);
});

Deno.test("scoreInterval() has a width where all items are right, and counts groups alike", () => {
  const all = scoreInterval([1, 1, 1], ["a", "a", "b"]);
  assertEquals([all.value, all.high, all.n], [1, 1, 3]);
  assert(all.low < 0.6);
  const groups = ["a", "a", "a", "b"];
  const { value, low, high } = scoreInterval([1, 0, 0, 1], groups, { average: "groups" });
  // Weights 1/6, 1/6, 1/6, 1/2: (1/6 + 1/2); Kish's number of items is 1 / (3/36 + 1/4) = 3.
  assert(Math.abs(value - 2 / 3) < 1e-12);
  const expected = wilsonInterval(2, 3);
  assert(Math.abs(low - expected.low) < 1e-12 && Math.abs(high - expected.high) < 1e-12);
});

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  comparePaired,
  holmAdjusted,
  mcnemarTest,
  pairedInterval,
  signFlipTest,
} from "../../analysis/paired_tests.ts";
import { stratifiedInterval } from "../../analysis/score_intervals.ts";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import golden from "./score_statistics_golden.json" with { type: "json" };

Deno.test("mcnemarTest() equals statsmodels'", () => {
  for (const { wins, losses, p } of golden.mcnemar) {
    assert(Math.abs(mcnemarTest(wins, losses) - p) < 1e-10, `${wins}, ${losses}`);
  }
  assertEquals(mcnemarTest(0, 0), 1);
  assertThrows(() => mcnemarTest(-1, 0), RequirementError);
});

Deno.test("signFlipTest() equals SciPy's exact permutation test", () => {
  for (const { differences, p } of golden.sign_flips) {
    assert(Math.abs(signFlipTest(differences) - p) < 1e-12, `${differences}`);
  }
  assertEquals(signFlipTest([0, 0]), 1);
  assertThrows(() => signFlipTest([NaN]), RequirementError);
});

Deno.test("signFlipTest() comes to McNemar's p where items are right or wrong", () => {
  const differences = [...new Array(30).fill(1), ...new Array(14).fill(-1), 0, 0];
  const exact = mcnemarTest(30, 14);
  assert(Math.abs(signFlipTest(differences) - exact) < 0.006);
  assertEquals(signFlipTest([1, 1, 1, 1, -1]), mcnemarTest(4, 1));
});

Deno.test("signFlipTest() rejects about as often as it says where nothing differs", () => {
  const random = seededRandom(2);
  let rejected = 0;
  for (let round = 0; round < 200; round++) {
    const differences = Array.from({ length: 9 }, () => random() - 0.5);
    rejected += Number(signFlipTest(differences) <= 0.1);
  }
  assert(rejected >= 8 && rejected <= 34, `${rejected} of 200`);
});

Deno.test("holmAdjusted() equals statsmodels', and counts comparisons that were not made", () => {
  for (const { p, adjusted } of golden.holm) {
    holmAdjusted(p).forEach((value, index) => assert(Math.abs(value - adjusted[index]!) < 1e-12));
    const larger = holmAdjusted([...p, 1, 1]).slice(0, p.length);
    assertEquals(holmAdjusted(p, p.length + 2), larger);
  }
  assertEquals(holmAdjusted([]), []);
  assertThrows(() => holmAdjusted([0.1, 0.2], 1), RequirementError);
  assertThrows(() => holmAdjusted([1.1]), RequirementError);
});

Deno.test("comparePaired() chooses its test by the scores and weighs groups alike", () => {
  const binary = comparePaired([1, 1, 0, 1], [0, 1, 0, 0], ["a", "a", "a", "b"], {
    average: "groups",
  });
  assertEquals([binary.test, binary.p, binary.wins, binary.losses], ["mcnemar", 0.5, 2, 0]);
  assert(Math.abs(binary.difference.value - (1 / 3 + 1) / 2) < 1e-12);
  const graded = comparePaired([0.5, 0.75], [0.25, 1], ["a", "a"]);
  assertEquals([graded.test, graded.p, graded.wins, graded.losses], ["sign flips", 1, 1, 1]);
  assertThrows(() => comparePaired([1], [1, 0], ["a"]), RequirementError);
});

Deno.test("pairedInterval() has a width where all differences are the same", () => {
  const groups = ["a", "a", "a"];
  // One win and one loss added to three items: 1/5 each, so 1.96 * sqrt(0.4 / 5) = 0.5544.
  const none = pairedInterval([0, 0, 0], groups);
  assert(none.value === 0 && Math.abs(none.high - 0.55436) < 1e-4 && none.low === -none.high);
  // 4/5 wins and 1/5 losses: 0.6 - 1.96 * sqrt((1 - 0.36) / 5) = -0.1012.
  const all = pairedInterval([1, 1, 1], groups);
  assert(all.high === 1 && Math.abs(all.low + 0.10123) < 1e-4);
  const mixed = pairedInterval([0, 1, 1, 0], ["a", "a", "a", "a"]);
  assertEquals(mixed, stratifiedInterval([0, 1, 1, 0], ["a", "a", "a", "a"]));
});

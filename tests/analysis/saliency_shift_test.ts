import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { accumulateAttention, type AttentionMap } from "../../analysis/attention_map.ts";
import {
  accumulateAfterDrop,
  compareViews,
  firstKeptTokens,
  mergeDropSaliency,
  randomJaccard,
  saliencyShift,
} from "../../analysis/saliency_shift.ts";
import { salientTokens } from "../../analysis/similarity.ts";
import { RequirementError } from "../../core/check.ts";
import { sample, seededRandom } from "../../core/random.ts";
import { randomMap } from "./support.ts";

Deno.test("saliencyShift() is 0 with the whole budget (invariant 10)", () => {
  for (const tokens of [2, 3, 16, 33, 64]) {
    const map = randomMap(seededRandom(tokens), tokens);
    const { shift, jaccard } = saliencyShift(map, { budgetRatio: 1 });
    assertEquals([shift, jaccard], [0, 1]);
  }
});

Deno.test("accumulateAfterDrop() by hand", () => {
  const map: AttentionMap = {
    layer: 0,
    head: 0,
    queries: 4,
    keys: 4,
    // rows: 1 | .25 .75 | .5 .25 .25 | .25 .25 .25 .25
    values: Float32Array.of(
      1,
      0,
      0,
      0,
      0.25,
      0.75,
      0,
      0,
      0.5,
      0.25,
      0.25,
      0,
      0.25,
      0.25,
      0.25,
      0.25,
    ),
  };
  // first half: 1.25, .75; token 1 is dropped; rows 2 and 3 become 2/3 _ 1/3 and 1/3 _ 1/3 1/3
  const kept = firstKeptTokens([1.25, 0.75], 0.5);
  assertEquals([...kept], [0]);
  const sums = accumulateAfterDrop(map, { firstTokens: 2, kept });
  assertEquals([...sums], [2.25, -1, 2 / 3, 1 / 3].map(Math.fround));
  assertEquals(saliencyShift(map, { budgetRatio: 0.5 }), {
    shift: 1 - 1 / 3,
    jaccard: 1 / 3,
    fullView: Uint32Array.of(0, 1),
    droppedView: Uint32Array.of(0, 2),
  });
});

Deno.test("compareViews() of means over rows prefers later tokens (D-1)", () => {
  // means over 4, 3, 2 and 1 rows: .5 .25 .5 .75 and .5 - .5 .75
  const [full, dropped] = [[2, 0.75, 1, 0.75], [2, -1, 1, 0.75]];
  const views = (normalise: "none" | "rows") => {
    const { fullView, droppedView } = compareViews(full!, dropped!, {
      budgetRatio: 0.5,
      normalise,
    });
    return [[...fullView], [...droppedView]];
  };
  assertEquals(views("none"), [[0, 2], [0, 2]]);
  assertEquals(views("rows"), [[0, 3], [0, 3]]);
});

Deno.test("accumulateAfterDrop() keeps all mass, and dropped tokens are never salient", () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 20 }), (seed, half) => {
      const random = seededRandom(seed);
      const tokens = 2 * half;
      const map = randomMap(random, tokens);
      const positions = Array.from({ length: half }, (_, position) => position);
      const kept = sample(random, positions, Math.max(1, half >> 1)).sort((a, b) => a - b);
      const sums = accumulateAfterDrop(map, { firstTokens: half, kept });
      const later = sums.reduce((total, value) => total + Math.max(0, value), 0);
      // each row of the second half adds 1; kept tokens start from what they had
      assert(later >= half - 1e-3 && later <= tokens + 1e-3, `${later} of ${tokens}`);
      const dropped = positions.filter((position) => !kept.includes(position));
      const salient = salientTokens(sums, tokens - dropped.length);
      assert(dropped.every((position) => !salient.includes(position)));
    }),
    { numRuns: 100 },
  );
});

Deno.test("mergeDropSaliency() of a continued pass equals the offline sums when nothing changes", () => {
  const map = randomMap(seededRandom(6), 20);
  const kept = Uint32Array.of(0, 3, 9);
  const isVisible = (key: number) => key >= 10 || kept.includes(key);
  const second = new Float64Array(20);
  for (let query = 10; query < 20; query++) {
    const row = [...map.values.subarray(query * 20, query * 20 + 20)]
      .map((value, key) => isVisible(key) ? value : 0);
    const mass = row.reduce((total, value) => total + value, 0);
    row.forEach((value, key) => second[key]! += value / mass);
  }
  const half = { ...map, queries: 10, keys: 10, values: new Float32Array(100) };
  for (let query = 0; query < 10; query++) {
    half.values.set(map.values.subarray(query * 20, query * 20 + 10), query * 10);
  }
  const first = accumulateAttention(half);
  const merged = mergeDropSaliency(first, second, { firstTokens: 10, kept });
  const offline = accumulateAfterDrop(map, { firstTokens: 10, kept });
  merged.forEach((value, key) => assert(Math.abs(value - offline[key]!) < 1e-5));
});

Deno.test("randomJaccard() is the similarity of random sets", () => {
  assertEquals(randomJaccard(1), 1);
  assertEquals(randomJaccard(0.5), 1 / 3);
  const random = seededRandom(3);
  const tokens = Array.from({ length: 2000 }, (_, token) => token);
  for (const budgetRatio of [0.1, 0.4, 0.8]) {
    const views = [0, 1].map(() => Float32Array.from(tokens, random));
    const { jaccard } = compareViews(views[0]!, views[1]!, { budgetRatio });
    assert(Math.abs(jaccard - randomJaccard(budgetRatio)) < 0.03);
  }
});

Deno.test("saliencyShift() rejects budgets outside (0, 1], and budgets that keep no token", () => {
  const map = randomMap(seededRandom(1), 8);
  for (const budgetRatio of [0, -0.1, 1.01, NaN]) {
    assertEquals(
      assertThrows(() => saliencyShift(map, { budgetRatio }), RequirementError).message,
      `Cannot measure saliency shift: budgetRatio must lie in (0, 1]: current value is ${budgetRatio}`,
    );
  }
  assertEquals(
    assertThrows(() => saliencyShift(map, { budgetRatio: 0.1 }), RequirementError).message,
    "Cannot measure saliency shift: salient tokens must be an integer at least 1: current value is 0",
  );
  assertThrows(() => accumulateAfterDrop(map, { firstTokens: 4, kept: [4] }), RequirementError);
  assertThrows(() => saliencyShift({ ...map, queries: 4 }, { budgetRatio: 0.5 }), RequirementError);
});

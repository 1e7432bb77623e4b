import { assert, assertEquals, assertStrictEquals, assertThrows, fail } from "@std/assert";
import fc from "fast-check";
import {
  cosineSimilarity,
  jaccardSimilarity,
  salientTokens,
  shareOfTokens,
} from "../../analysis/similarity.ts";
import { RequirementError } from "../../core/check.ts";

const vectors = fc.integer({ min: 1, max: 20 }).chain((length) => {
  const vector = fc.array(fc.double({ min: -9, max: 9, noNaN: true }), {
    minLength: length,
    maxLength: length,
  });
  return fc.tuple(vector, vector);
});

Deno.test("jaccardSimilarity() by hand", () => {
  assertEquals(jaccardSimilarity([1, 2, 3], new Set([3, 4])), 0.25);
  assertEquals(jaccardSimilarity(Uint32Array.of(1, 2), [2, 1, 1]), 1);
  assertEquals(jaccardSimilarity([], []), 1);
});

Deno.test("cosineSimilarity() is symmetric, bounded, blind to scale, and 1 for equal vectors", () => {
  fc.assert(fc.property(vectors, ([a, b]) => {
    const similarity = cosineSimilarity(a, b);
    assertStrictEquals(similarity, cosineSimilarity(b, a));
    assert(similarity >= -1 && similarity <= 1);
    const length = Math.hypot(...a);
    if (length > 1e-100) {
      assert(Math.abs(cosineSimilarity(a, a.map((value) => 3 * value)) - 1) < 1e-12);
    }
  }));
});

Deno.test("cosineSimilarity() by hand", () => {
  assertEquals(cosineSimilarity([3, 4], [4, 3]), 0.96);
  assertEquals(cosineSimilarity([1, 0], [0, 2]), 0);
  assertEquals(cosineSimilarity([0, 0], [1, 1]), 0);
  assertThrows(() => cosineSimilarity([1], [1, 2]), RequirementError);
  assertThrows(() => cosineSimilarity([1, 1], [1, NaN]), Error, "current value is NaN");
});

Deno.test("salientTokens() gives ties to the earlier token (D-7)", () => {
  assertEquals([...salientTokens([1, 3, 2, 3, 2, 2], 4)], [1, 2, 3, 4]);
  assertEquals([...salientTokens([5, 5, 5], 2)], [0, 1]);
  assertEquals([...salientTokens([1, 2], 0)], []);
  assertEquals([...salientTokens([0, -0, 0], 2)], [0, 1]);
});

Deno.test("salientTokens() equals the start of a plain sort", () => {
  const saliency = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 40 });
  fc.assert(fc.property(saliency, fc.nat(), (values, draw) => {
    const count = draw % (values.length + 1);
    const plain = values.map((value, position) => ({ value, position }))
      .sort((a, b) => b.value - a.value || a.position - b.position)
      .map(({ position }) => position);
    const expected = plain.slice(0, count).sort((a, b) => a - b);
    assertEquals([...salientTokens(values, count)], expected);
  }));
});

Deno.test("salientTokens() rejects NaN and more tokens than there are", () => {
  assertEquals(
    assertThrows(() => salientTokens([1, NaN, 2], 1), RequirementError).message,
    "Cannot choose salient tokens: saliency must be a number: current value is NaN at token 1",
  );
  assertThrows(() => salientTokens([1], 2), RequirementError);
});

Deno.test("shareOfTokens() is exact for every percentage", () => {
  for (let tokens = 0; tokens < 3000; tokens++) {
    for (let percent = 0; percent <= 100; percent++) {
      const exact = Math.floor(percent * tokens / 100);
      if (shareOfTokens(percent / 100, tokens) !== exact) fail(`${percent} % of ${tokens}`);
    }
  }
  assertThrows(() => shareOfTokens(1.1, 10), RequirementError);
});

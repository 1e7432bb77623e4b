import assert from "node:assert/strict";
import fc from "fast-check";
import {
  cosineSimilarity,
  jaccardSimilarity,
  rankTokens,
  salientTokens,
  shareOfTokens,
} from "../../analysis/similarity.ts";

const vectors = fc.integer({ min: 1, max: 20 }).chain((length) => {
  const vector = fc.array(fc.double({ min: -9, max: 9, noNaN: true }), {
    minLength: length,
    maxLength: length,
  });
  return fc.tuple(vector, vector);
});

Deno.test("jaccardSimilarity() by hand", () => {
  assert.equal(jaccardSimilarity([1, 2, 3], new Set([3, 4])), 0.25);
  assert.equal(jaccardSimilarity(Uint32Array.of(1, 2), [2, 1, 1]), 1);
  assert.equal(jaccardSimilarity([], []), 1);
});

Deno.test("cosineSimilarity() is symmetric, bounded, blind to scale, and 1 for equal vectors", () => {
  fc.assert(fc.property(vectors, ([a, b]) => {
    const similarity = cosineSimilarity(a, b);
    assert.equal(similarity, cosineSimilarity(b, a));
    assert.ok(similarity >= -1 && similarity <= 1);
    const length = Math.hypot(...a);
    if (length > 1e-100) {
      assert.ok(Math.abs(cosineSimilarity(a, a.map((value) => 3 * value)) - 1) < 1e-12);
    }
  }));
});

Deno.test("cosineSimilarity() by hand", () => {
  assert.equal(cosineSimilarity([3, 4], [4, 3]), 0.96);
  assert.equal(cosineSimilarity([1, 0], [0, 2]), 0);
  assert.equal(cosineSimilarity([0, 0], [1, 1]), 0);
  assert.throws(() => cosineSimilarity([1], [1, 2]), TypeError);
  assert.throws(() => cosineSimilarity([1, 1], [1, NaN]), /current value is NaN/);
});

Deno.test("salientTokens() gives ties to the earlier token (D-7)", () => {
  assert.deepEqual([...salientTokens([1, 3, 2, 3, 2, 2], 4)], [1, 2, 3, 4]);
  assert.deepEqual([...salientTokens([5, 5, 5], 2)], [0, 1]);
  assert.deepEqual([...salientTokens([1, 2], 0)], []);
  assert.deepEqual([...salientTokens([0, -0, 0], 2)], [0, 1]);
});

Deno.test("salientTokens() equals the head of rankTokens() and of a plain sort", () => {
  const saliency = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 40 });
  fc.assert(fc.property(saliency, fc.nat(), (values, draw) => {
    const count = draw % (values.length + 1);
    const plain = values.map((value, position) => ({ value, position }))
      .sort((a, b) => b.value - a.value || a.position - b.position)
      .map(({ position }) => position);
    assert.deepEqual([...rankTokens(values)], plain);
    const expected = plain.slice(0, count).sort((a, b) => a - b);
    assert.deepEqual([...salientTokens(values, count)], expected);
  }));
});

Deno.test("salientTokens() rejects NaN and more tokens than there are", () => {
  assert.throws(
    () => salientTokens([1, NaN, 2], 1),
    new RangeError(
      "Cannot choose salient tokens: saliency must be a number: current value is NaN at token 1",
    ),
  );
  assert.throws(() => salientTokens([1], 2), RangeError);
  assert.throws(() => rankTokens([NaN]), RangeError);
});

Deno.test("shareOfTokens() is exact for every percentage", () => {
  for (let tokens = 0; tokens < 3000; tokens++) {
    for (let percent = 0; percent <= 100; percent++) {
      const exact = Math.floor(percent * tokens / 100);
      if (shareOfTokens(percent / 100, tokens) !== exact) assert.fail(`${percent} % of ${tokens}`);
    }
  }
  assert.throws(() => shareOfTokens(1.1, 10), RangeError);
});

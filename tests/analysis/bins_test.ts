import assert from "node:assert/strict";
import fc from "fast-check";
import { binRatio, saliencyBins, topSaliencyShare } from "../../analysis/bins.ts";

Deno.test("saliencyBins() sums sorted tokens by hand", () => {
  assert.deepEqual([...saliencyBins([1, 8, 2, 4], 2)], [12, 3]);
  // 5 tokens in 2 bins: ranks 0-1 and 2-4
  assert.deepEqual([...saliencyBins([5, 1, 4, 2, 3], 2)], [9, 6]);
});

Deno.test("saliencyBins() keeps the mass and descends for equally wide bins", () => {
  const saliency = fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 20, maxLength: 90 });
  fc.assert(fc.property(saliency, (values) => {
    const bins = saliencyBins(values);
    const mass = values.reduce((total, value) => total + value, 0);
    assert.equal(bins.reduce((total, value) => total + value, 0), mass);
    if (values.length % 20 === 0) {
      bins.slice(1).forEach((value, bin) => assert.ok(value <= bins[bin]!));
    }
  }));
});

Deno.test("binRatio() gives the ratio of sums and the mean of ratios", () => {
  const contexts = [[6, 2], [4, 4]];
  assert.deepEqual(binRatio(contexts, { above: 0, below: 1 }), {
    ofSums: 10 / 6,
    meanOfRatios: 2,
  });
  assert.throws(() => binRatio([], { above: 0, below: 1 }), RangeError);
  assert.throws(() => binRatio(contexts, { above: 0, below: 2 }), RangeError);
});

Deno.test("topSaliencyShare() by hand", () => {
  assert.equal(topSaliencyShare([1, 5, 2, 2], 0.25), 0.5);
  assert.equal(topSaliencyShare(new Float32Array(40).fill(1)), 0.05);
  assert.equal(topSaliencyShare([3, 1], 0.01), 0.75);
});

Deno.test("saliencyBins() rejects too few tokens and NaN", () => {
  assert.throws(() => saliencyBins(new Float32Array(19)), RangeError);
  assert.throws(
    () => saliencyBins([1, NaN], 2),
    new RangeError("Cannot rank saliency: entries must be finite: current value is NaN"),
  );
});

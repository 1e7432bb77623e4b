import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { binRatio, saliencyBins, topSaliencyShare } from "../../analysis/bins.ts";
import { RequirementError } from "../../core/check.ts";

Deno.test("saliencyBins() sums sorted tokens by hand", () => {
  assertEquals([...saliencyBins([1, 8, 2, 4], 2)], [12, 3]);
  // 5 tokens in 2 bins: ranks 0-1 and 2-4
  assertEquals([...saliencyBins([5, 1, 4, 2, 3], 2)], [9, 6]);
});

Deno.test("saliencyBins() keeps the mass and descends for equally wide bins", () => {
  const saliency = fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 20, maxLength: 90 });
  fc.assert(fc.property(saliency, (values) => {
    const bins = saliencyBins(values);
    const mass = values.reduce((total, value) => total + value, 0);
    assertStrictEquals(bins.reduce((total, value) => total + value, 0), mass);
    if (values.length % 20 === 0) {
      bins.slice(1).forEach((value, bin) => assert(value <= bins[bin]!));
    }
  }));
});

Deno.test("binRatio() gives the ratio of sums and the mean of ratios", () => {
  const contexts = [[6, 2], [4, 4]];
  assertEquals(binRatio(contexts, { above: 0, below: 1 }), {
    ofSums: 10 / 6,
    meanOfRatios: 2,
  });
  assertThrows(() => binRatio([], { above: 0, below: 1 }), RequirementError);
  assertThrows(() => binRatio(contexts, { above: 0, below: 2 }), RequirementError);
});

Deno.test("topSaliencyShare() by hand", () => {
  assertEquals(topSaliencyShare([1, 5, 2, 2], 0.25), 0.5);
  assertEquals(topSaliencyShare(new Float32Array(40).fill(1)), 0.05);
  assertEquals(topSaliencyShare([3, 1], 0.01), 0.75);
});

Deno.test("saliencyBins() rejects too few tokens and NaN", () => {
  assertThrows(() => saliencyBins(new Float32Array(19)), RequirementError);
  assertEquals(
    assertThrows(() => saliencyBins([1, NaN], 2), RequirementError).message,
    "Cannot rank saliency: entries must be finite: current value is NaN",
  );
});

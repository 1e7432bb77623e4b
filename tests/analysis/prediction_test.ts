import { assert, assertEquals, assertThrows } from "@std/assert";
import { heldOutPredictions, rankCorrelation, ridgeFit } from "../../analysis/prediction.ts";
import { RequirementError } from "../../core/check.ts";
import golden from "./score_statistics_golden.json" with { type: "json" };

const { features, targets, items, penalty } = golden.prediction;

Deno.test("rankCorrelation() equals SciPy's, with equal values", () => {
  for (const { first, second, value } of golden.rank_correlation) {
    assert(Math.abs(rankCorrelation(first, second) - value) < 1e-12);
  }
  assert(Number.isNaN(rankCorrelation([1, 1], [1, 2])));
  assertThrows(() => rankCorrelation([1], [1]), RequirementError);
});

Deno.test("ridgeFit() equals scikit-learn's on standardized features", () => {
  const { intercept, coefficients } = ridgeFit(features, targets, penalty);
  assert(Math.abs(intercept - golden.prediction.intercept) < 1e-9);
  coefficients.forEach((value, index) =>
    assert(Math.abs(value - golden.prediction.coefficients[index]!) < 1e-9)
  );
  assertEquals(ridgeFit([[0.1, 1], [0.1, 2]], [1, 2]).coefficients[0], 0);
  assertThrows(() => ridgeFit([[1], [NaN]], [1, 2]), RequirementError);
  assertThrows(() => ridgeFit([[1], [2]], [1, 2], 0), RequirementError);
});

Deno.test("heldOutPredictions() equals scikit-learn's leave-one-group-out", () => {
  const { predictions, means } = heldOutPredictions(features, targets, { items, penalty });
  predictions.forEach((value, row) =>
    assert(Math.abs(value - golden.prediction.held_out[row]!) < 1e-9)
  );
  const known = targets.slice(5);
  assert(Math.abs(means[0]! - known.reduce((sum, value) => sum + value, 0) / 25) < 1e-12);
  assertThrows(() => heldOutPredictions([[1]], [1], { items: ["a"] }), RequirementError);
});

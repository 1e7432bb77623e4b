import { assert, assertEquals } from "@std/assert";
import type { ModelShape } from "../../experiments/experiment.ts";
import type { PolicyCell } from "../../experiments/decoded/policy_runs.ts";
import {
  meanDifference,
  meanRatio,
  medianKl,
  memoryShares,
} from "../../experiments/decoded/policy_stats.ts";

const OPTIONS = { seed: 1, label: "test" };

function cell(id: string, kl: readonly number[], others: Partial<PolicyCell> = {}): PolicyCell {
  const rest = { tokens: 100, exact: 0, cost: 0.2, churn: 0, loaded: 0, group: "all" };
  return { id, kl, same: kl.map(() => 1), ...rest, ...others };
}

Deno.test("differences pair texts, several budgets of one text counting once", () => {
  const first = [cell("a", [1]), cell("a", [3]), cell("b", [5])];
  const second = [cell("b", [1]), cell("a", [1]), cell("c", [9])];
  const { value, n } = meanDifference(first, second, { ...OPTIONS, measure: "kl" })!;
  assertEquals(value, (1 + 4) / 2);
  assertEquals(n, 2);
  assertEquals(meanDifference([], second, { ...OPTIONS, measure: "kl" }), undefined);
});

Deno.test("ratios divide means over paired texts", () => {
  const first = [cell("a", [1]), cell("b", [5]), cell("d", [7])];
  const second = [cell("b", [2]), cell("a", [1]), cell("c", [9])];
  const { value, low, high, n } = meanRatio(first, second, { ...OPTIONS, measure: "kl" })!;
  assertEquals([value, n], [6 / 3, 2]);
  assert(low >= 1 && high <= 2.5 && low < high);
  assertEquals(meanRatio(first, [cell("a", [0])], { ...OPTIONS, measure: "kl" }), undefined);
  assertEquals(meanRatio([], second, { ...OPTIONS, measure: "kl" }), undefined);
});

Deno.test("the median is taken over steps, texts without a step do not count", () => {
  const cells = [cell("a", [0, 0, 0]), cell("b", [1, 9]), cell("c", [])];
  assertEquals(medianKl(cells, OPTIONS)!.value, 0);
  assertEquals(medianKl([cell("c", [])], OPTIONS), undefined);
});

Deno.test("memory counts the small model's cache and weights", () => {
  const shape: ModelShape = {
    layers: 2,
    queryHeads: 4,
    kvHeads: 4,
    headDim: 8,
    hidden: 32,
    mlp: 64,
    vocabulary: 100,
    contextLength: 512,
    fileTensorBytes: 1000,
  };
  const smallModel = { ...shape, layers: 1, fileTensorBytes: 500 };
  const cells = [cell("a", [0, 0])];
  const alone = memoryShares(cells, { large: shape });
  assertEquals(alone.withSmallModel, 0.2);
  const full = 101 * 2 * 2 * 2 * 4 * 8;
  assert(Math.abs(alone.withWeights - (0.2 * full + 1000) / (full + 1000)) < 1e-12);
  const both = memoryShares(cells, { large: shape, smallModel });
  assert(Math.abs(both.withSmallModel - 0.7) < 1e-12);
  assert(Math.abs(both.withWeights - (0.7 * full + 1500) / (full + 1000)) < 1e-12);
});

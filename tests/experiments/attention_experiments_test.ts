/**
 * What experiments on attention find where the answer is known.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { accumulateAttention } from "../../analysis/attention_map.ts";
import { matchHeads } from "../../analysis/head_match.ts";
import { compareViews, saliencyShift } from "../../analysis/saliency_shift.ts";
import { derivedSeed, seededRandom } from "../../core/random.ts";
import { mean } from "../../core/stats.ts";
import type { ExperimentContext, Trace } from "../../experiments/experiment.ts";
import { fig1b } from "../../experiments/fig1b.ts";
import { fig1c } from "../../experiments/fig1c.ts";
import { fig2 } from "../../experiments/fig2.ts";
import { fig8 } from "../../experiments/fig8.ts";
import { fig9 } from "../../experiments/fig9.ts";
import { matchingWindowStudy } from "../../experiments/matching_window.ts";
import { fakeContext, type FakeModel, fakeModel } from "./fake_models.ts";
import { LARGE, models, runAll, shapeOf } from "./fake_runs.ts";

Deno.test("a model with itself as small model has similarity 1 and the full view (invariant 4)", async () => {
  const twin = () => fakeModel("Twin", LARGE);
  const context = fakeContext({ large: twin(), small: twin() });
  const similarity = (await runAll(fig1c, context)).result;
  assertEquals(similarity.values.meanCosine!.value, 1);
  assert(similarity.values.gainOverRandom!.low > 0);
  const shares = (await runAll(fig8, context)).result;
  assertEquals(shares.values.above90!.value, 100);
  assertEquals(shares.values.below50!.value, 0);
  const shift = (await runAll(fig1b, context)).result;
  const curve = shift.figures[0]!.series.find(({ label }) => label.includes("(SmallKV)"))!;
  assert(curve.y.every((value) => value === 1));
  assert(shift.values.guidedGain!.value > 0);
});

Deno.test("fig1b equals the offline shift where hidden states do not matter", async () => {
  const { large, small } = models();
  const context = fakeContext({ large, small });
  const { units } = await runAll(fig1b, context);
  const [plan] = (await fig1b.plan(context)).filter(({ key }) => key.startsWith("drop/"));
  const { tokens, budgetRatio } = plan!.inputs as { tokens: number[]; budgetRatio: number };
  const heads = Array.from({ length: 12 }, (_, head) => head);
  const expected = heads.map((head) =>
    saliencyShift(large.map(tokens, head), { budgetRatio }).jaccard
  );
  const { value } = units.find(({ key }) => key === plan!.key)!;
  const { layers } = value as { layers: number[] };
  assert(Math.abs(mean(layers) - mean(expected)) < 1e-5);
});

Deno.test("fig1b has a value for every block and budget, falling with the budget", async () => {
  const context = fakeContext(models(), { isDefaultPair: true });
  const { result } = await runAll(fig1b, context);
  const { lowestBudget, highestBudget, rise, aboveRandom } = result.values;
  assert(highestBudget!.value > lowestBudget!.value);
  assert(rise!.low > 0 && aboveRandom!.low > 0);
  assertEquals(rise!.n, 6);
});

Deno.test("fig9 compares models with different tokenizers", async () => {
  const twin = (tokenLength: number) => fakeModel("Twin", { ...LARGE, tokenLength });
  const context = fakeContext({ large: twin(0), small: twin(0), other: twin(4) });
  const { result } = await runAll(fig9, context);
  assertEquals(result.values.sameFamily!.value, 1);
  assert(result.values.crossFamily!.value < 1);
  assert(result.values.familyGap!.value > 0);
});

Deno.test("fig1b guides a KV head by the sum of its group's matches", async () => {
  const { large, small } = models();
  const context = fakeContext({ large, small });
  const [unit] = await fig1b.plan(context);
  const { tokens, budgets } = unit!.inputs as { tokens: number[]; budgets: number[] };
  const { overlaps } = await unit!.run(context) as unknown as { overlaps: { group: number[] } };
  const window = (model: FakeModel, heads: number) =>
    Float32Array.from(
      Array.from(
        { length: heads },
        (_, head) => [...accumulateAttention(model.map(tokens.slice(0, 200), head))],
      ).flat(),
    );
  const { match } = matchHeads(
    { ...shapeOf(large), tokens: 200, accumulated: window(large, 12) },
    { ...shapeOf(small), tokens: 200, accumulated: window(small, 6) },
  );
  const jaccards = Array.from(match, (_, head) => {
    const group = [head - head % 2, head - head % 2 + 1];
    const guide = group.map((member) => accumulateAttention(small.map(tokens, match[member]!)));
    const sum = guide[0]!.map((value, token) => value + guide[1]![token]!);
    const budgetRatio = budgets[0]!;
    return compareViews(accumulateAttention(large.map(tokens, head)), sum, { budgetRatio }).jaccard;
  });
  assert(Math.abs(mean(jaccards) - overlaps.group[0]!) < 1e-5);
});

Deno.test("matching_window judges each match by where it was made", async () => {
  // unrelated saliency in every text, so that a match means nothing elsewhere
  const trace: ExperimentContext["trace"] = (role, tokens, options) => {
    const random = seededRandom(derivedSeed(1, `${role} ${tokens.join()}`));
    const checkpoints = [...options?.checkpoints ?? [], tokens.length];
    const heads = role === "large" ? 12 : 6;
    const accumulated = checkpoints.map((length) =>
      Float32Array.from({ length: heads * length }, random)
    );
    return Promise.resolve({ heads, checkpoints, accumulated });
  };
  const { result } = await runAll(matchingWindowStudy, { ...fakeContext(models()), trace });
  const [windows, transfer] = result.tables;
  const agreement = new Map(windows!.rows.map((row) => [row[0], row.at(-1) as number]));
  assertEquals(agreement.get(200), 100);
  assert(agreement.get(25)! < 100);
  const value = (label: string) => transfer!.rows.find(([name]) => name === label)![1] as number;
  assert(value("same match on both texts (%)") < 100);
  assert(value("loss") > 0);
});

Deno.test("fig9 shows what uniform attention would give, fig2 what the first tokens hold", async () => {
  const { large, small } = models();
  const uniform = (tokens: readonly number[], checkpoints: readonly number[] = []): Trace => {
    const lengths = [...checkpoints, tokens.length];
    const accumulated = lengths.map((length) => {
      const column = Float32Array.from({ length }, (_, key) => {
        let sum = 0;
        for (let query = key; query < length; query++) sum += 1 / (query + 1);
        return sum;
      });
      return Float32Array.from({ length: 12 * length }, (_, index) => column[index % length]!);
    });
    return { heads: 12, checkpoints: lengths, accumulated };
  };
  const context: ExperimentContext = {
    ...fakeContext({ large, small: { ...small, ...shapeOf(large) } }),
    trace: (_, tokens, options) => Promise.resolve(uniform(tokens, options?.checkpoints)),
  };
  const family = (await runAll(fig9, context)).result;
  const [, uniformRow] = family.tables[0]!.rows;
  assertEquals(uniformRow!.slice(1, 3), [1, 1]);
  assertEquals(uniformRow![4], 1);
  const spread = (await runAll(fig2, context)).result;
  const [all, , rest] = spread.tables[0]!.rows.map((row) => row[3] as number);
  assert(rest! < all! - 0.1, `${rest} of ${all}`);
});

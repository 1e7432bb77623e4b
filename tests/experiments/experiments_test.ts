import assert from "node:assert/strict";
import { canonicalJson } from "../../core/json.ts";
import { arithmeticClaims } from "../../experiments/arithmetic.ts";
import type {
  Experiment,
  ExperimentContext,
  ExperimentResult,
  Figure,
  ModelShape,
  SummaryInput,
  Trace,
  UnitResult,
} from "../../experiments/experiment.ts";
import { fig1b } from "../../experiments/fig1b.ts";
import { fig1c } from "../../experiments/fig1c.ts";
import { fig2 } from "../../experiments/fig2.ts";
import { fig8 } from "../../experiments/fig8.ts";
import { fig9 } from "../../experiments/fig9.ts";
import { matchingWindowStudy } from "../../experiments/matching_window.ts";
import { table2 } from "../../experiments/table2.ts";
import { table7And8 } from "../../experiments/table7_8.ts";
import { table9 } from "../../experiments/table9.ts";
import { accumulateAttention } from "../../analysis/attention_map.ts";
import { matchHeads } from "../../analysis/head_match.ts";
import { compareViews, saliencyShift } from "../../analysis/saliency_shift.ts";
import { derivedSeed, seededRandom } from "../../core/random.ts";
import { mean } from "../../core/stats.ts";
import { fakeContext, type FakeModel, fakeModel, type FakeOptions } from "./fake_models.ts";

const ALL: readonly Experiment[] = [
  arithmeticClaims,
  fig1b,
  fig1c,
  fig2,
  fig8,
  fig9,
  matchingWindowStudy,
  table2,
  table7And8,
  table9,
];

function input(context: ExperimentContext, units: readonly UnitResult[]): SummaryInput {
  const { large, small, other, scale, seed, isDefaultPair } = context;
  return { units, scale, seed, large, small, isDefaultPair, ...(other ? { other } : {}) };
}

/** Runs an experiment as the runner does, values going through JSON. */
async function runAll(
  experiment: Experiment,
  context: ExperimentContext,
): Promise<{ units: UnitResult[]; result: ExperimentResult }> {
  const units: UnitResult[] = [];
  for (const unit of await experiment.plan(context)) {
    const value = await unit.run(context);
    units.push({ key: unit.key, value: JSON.parse(canonicalJson(value)) });
  }
  return { units, result: experiment.summarise(input(context, units)) };
}

function checkFigure(figure: Figure): void {
  assert.ok(figure.series.length > 0, figure.name);
  for (const { x, y, z, low, high } of figure.series) {
    if (figure.kind === "heatmap") {
      assert.equal(z!.length, y.length, figure.name);
      for (const row of z!) assert.equal(row.length, x.length, figure.name);
    } else assert.equal(x.length, y.length, figure.name);
    for (const ends of [low, high]) if (ends) assert.equal(ends.length, y.length, figure.name);
    const numbers = [...y, ...low ?? [], ...high ?? [], ...(z ?? []).flat()];
    for (const value of numbers) if (typeof value === "number") assert.ok(Number.isFinite(value));
  }
}

function checkResult(experiment: Experiment, result: ExperimentResult): void {
  for (const [key, { value, low, high, n }] of Object.entries(result.values) as [string, never][]) {
    assert.ok(key in experiment.claims, key);
    assert.ok(low - 1e-9 <= value && value <= high + 1e-9, `${key}: ${low} ${value} ${high}`);
    assert.ok(Number.isInteger(n) && n > 0);
  }
  for (const { name, columns, rows } of result.tables) {
    for (const row of rows) {
      assert.equal(row.length, columns.length, name);
      for (const cell of row) if (typeof cell === "number") assert.ok(Number.isFinite(cell), name);
    }
  }
  for (const figure of result.figures) checkFigure(figure);
}

function shapeOf({ layers, queryHeads, kvHeads }: ModelShape) {
  return { layers, queryHeads, kvHeads };
}

const LARGE: FakeOptions = { layers: 3, queryHeads: 4, kvHeads: 2, seed: 1 };
const SMALL: FakeOptions = { layers: 2, queryHeads: 3, kvHeads: 1, seed: 2 };

function models(withOther = false) {
  const pair = { large: fakeModel("Large", LARGE), small: fakeModel("Small", SMALL) };
  const third: FakeOptions = { layers: 2, queryHeads: 2, seed: 3, tokenLength: 3 };
  return withOther ? { ...pair, other: fakeModel("Other", third) } : pair;
}

for (const isDefaultPair of [true, false]) {
  const pair = isDefaultPair ? "the embedded pair" : "another pair";
  for (const experiment of ALL) {
    Deno.test(`${experiment.name} runs and summarises with ${pair}`, async () => {
      const context = fakeContext(models(!isDefaultPair), { isDefaultPair });
      const { units, result } = await runAll(experiment, context);
      assert.equal(new Set(units.map(({ key }) => key)).size, units.length);
      checkResult(experiment, result);
      assert.ok(Object.keys(result.values).length > 0);
      assert.deepEqual(experiment.summarise(input(context, units)), result);
    });
  }
}

Deno.test("plans are the same from run to run, so that finished units are found again", async () => {
  for (const experiment of ALL) {
    const describe = async () =>
      (await experiment.plan(fakeContext(models()))).map(({ key, inputs }) =>
        `${key} ${canonicalJson(inputs)}`
      );
    assert.deepEqual(await describe(), await describe());
  }
});

Deno.test("a model with itself as helper has similarity 1 and the full view (invariant 4)", async () => {
  const twin = () => fakeModel("Twin", LARGE);
  const context = fakeContext({ large: twin(), small: twin() });
  const similarity = (await runAll(fig1c, context)).result;
  assert.equal(similarity.values.meanCosine!.value, 1);
  assert.ok(similarity.values.gainOverRandom!.low > 0);
  const shares = (await runAll(fig8, context)).result;
  assert.equal(shares.values.above90!.value, 100);
  assert.equal(shares.values.below50!.value, 0);
  const shift = (await runAll(fig1b, context)).result;
  const curve = shift.figures[0]!.series.find(({ label }) => label.includes("(SmallKV)"))!;
  assert.ok(curve.y.every((value) => value === 1));
  assert.ok(shift.values.guidedGain!.value > 0);
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
  assert.ok(Math.abs(mean(layers) - mean(expected)) < 1e-5);
});

Deno.test("fig1b has a value for every block and budget, falling with the budget", async () => {
  const context = fakeContext(models(), { isDefaultPair: true });
  const { result } = await runAll(fig1b, context);
  const { lowestBudget, highestBudget, rise, aboveRandom } = result.values;
  assert.ok(highestBudget!.value > lowestBudget!.value);
  assert.ok(rise!.low > 0 && aboveRandom!.low > 0);
  assert.equal(rise!.n, 6);
});

Deno.test("fig9 sees through another tokenizer", async () => {
  const twin = (tokenLength: number) => fakeModel("Twin", { ...LARGE, tokenLength });
  const context = fakeContext({ large: twin(0), small: twin(0), other: twin(4) });
  const { result } = await runAll(fig9, context);
  assert.equal(result.values.sameFamily!.value, 1);
  assert.ok(result.values.crossFamily!.value < 1);
  assert.ok(result.values.familyGap!.value > 0);
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
  assert.ok(Math.abs(mean(jaccards) - overlaps.group[0]!) < 1e-5);
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
  assert.equal(agreement.get(200), 100);
  assert.ok(agreement.get(25)! < 100);
  const value = (label: string) => transfer!.rows.find(([name]) => name === label)![1] as number;
  assert.ok(value("same match on both texts (%)") < 100);
  assert.ok(value("loss") > 0);
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
  assert.deepEqual(uniformRow!.slice(1, 3), [1, 1]);
  assert.equal(uniformRow![4], 1);
  const spread = (await runAll(fig2, context)).result;
  const [all, , rest] = spread.tables[0]!.rows.map((row) => row[3] as number);
  assert.ok(rest! < all! - 0.1, `${rest} of ${all}`);
});

Deno.test("table9 needs five turns of at least 100 tokens", async () => {
  const context = fakeContext(models());
  const [unit] = await table9.plan(context);
  const { ends } = unit!.inputs as { ends: number[] };
  assert.deepEqual(ends, [120, 240, 360, 480, 600]);
  const short = {
    ...context,
    texts: () => Promise.resolve([{ id: "a", group: "", text: "too short" }]),
  };
  await assert.rejects(
    () => table9.plan(short),
    /Cannot build dialogues: dataset "mt_bench" must have 5 turns of at least 100 tokens/,
  );
});

Deno.test("plans reject texts that are too short and pairs of two tokenizers", async () => {
  const short = fakeContext(models(), { words: 20 });
  await assert.rejects(
    () => fig8.plan(short),
    /Cannot cut contexts: dataset "wikitext2" must have a text of at least 100 tokens/,
  );
  const small = fakeModel("Small", { ...SMALL, tokenLength: 2 });
  await assert.rejects(
    () => fig8.plan(fakeContext({ ...models(), small })),
    /Cannot match heads: both models must have one tokenizer/,
  );
});

Deno.test("contexts that begin alike count once", async () => {
  const context = fakeContext(models());
  const texts = await context.texts("bbh", 3);
  const twice = [
    texts[0]!,
    { ...texts[0]!, id: "again", text: `${texts[0]!.text} more` },
    texts[1]!,
  ];
  const units = await fig2.plan({ ...context, texts: () => Promise.resolve(twice) });
  assert.deepEqual(units.map(({ key }) => key), ["bbh-0", "bbh-1"]);
});

for (
  const [scale, isDefaultPair, limit] of [
    ["smoke", true, 20_000],
    ["smoke", false, 6_000],
    ["small", false, 18_000],
  ] as const
) {
  const pair = isDefaultPair ? "the embedded pair" : "another pair";
  Deno.test(`scale ${scale} with ${pair} needs at most ${limit} tokens of a model`, async () => {
    const cheap = { layers: 1, queryHeads: 1, seed: 1, isCheap: true };
    const large = fakeModel("Large", cheap);
    const small = fakeModel("Small", cheap);
    const context = fakeContext({ large, small }, { scale, isDefaultPair });
    for (const experiment of ALL) await runAll(experiment, context);
    assert.ok(large.work.tokens <= limit, `large ${large.work.tokens}`);
    assert.ok(small.work.tokens <= large.work.tokens, `small ${small.work.tokens}`);
  });
}

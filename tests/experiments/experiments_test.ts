import { assert, assertEquals, assertRejects } from "@std/assert";
import { canonicalJson } from "../../core/json.ts";
import { arithmeticClaims } from "../../experiments/arithmetic.ts";
import type { Experiment, ExperimentResult, Figure } from "../../experiments/experiment.ts";
import { fig1b } from "../../experiments/fig1b.ts";
import { fig1c } from "../../experiments/fig1c.ts";
import { fig2 } from "../../experiments/fig2.ts";
import { fig8 } from "../../experiments/fig8.ts";
import { fig9 } from "../../experiments/fig9.ts";
import { matchingWindowStudy } from "../../experiments/matching_window.ts";
import { table2 } from "../../experiments/table2.ts";
import { table7And8 } from "../../experiments/table7_8.ts";
import { table9 } from "../../experiments/table9.ts";
import { fakeContext, fakeModel } from "./fake_models.ts";
import { input, models, runAll, SMALL } from "./fake_runs.ts";

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

function checkFigure(figure: Figure): void {
  assert(figure.series.length > 0, figure.name);
  if (figure.kind !== "heatmap") assert(figure.series.length <= 6, `${figure.name}: curves`);
  const isBar = figure.kind === "bar" || figure.kind === "histogram";
  assert(!(isBar && figure.isLog), `${figure.name}: bars have no length on a log axis`);
  assertEquals(figure.contexts === 1, figure.choice !== undefined, `${figure.name}: choice`);
  for (const { x, y, z, low, high } of figure.series) {
    if (figure.kind === "heatmap") {
      assertEquals(z!.length, y.length, figure.name);
      for (const row of z!) assertEquals(row.length, x.length, figure.name);
    } else assertEquals(x.length, y.length, figure.name);
    for (const ends of [low, high]) if (ends) assertEquals(ends.length, y.length, figure.name);
    const numbers = [...y, ...low ?? [], ...high ?? [], ...(z ?? []).flat()];
    for (const value of numbers) if (typeof value === "number") assert(Number.isFinite(value));
  }
}

function checkResult(experiment: Experiment, result: ExperimentResult): void {
  for (const [key, { value, low, high, n }] of Object.entries(result.values) as [string, never][]) {
    assert(key in experiment.claims, key);
    assert(low - 1e-9 <= value && value <= high + 1e-9, `${key}: ${low} ${value} ${high}`);
    assert(Number.isInteger(n) && n > 0);
  }
  for (const { name, columns, rows } of result.tables) {
    for (const row of rows) {
      assertEquals(row.length, columns.length, name);
      for (const cell of row) if (typeof cell === "number") assert(Number.isFinite(cell), name);
    }
  }
  for (const figure of result.figures) checkFigure(figure);
}

for (const isDefaultPair of [true, false]) {
  const pair = isDefaultPair ? "the embedded pair" : "another pair";
  for (const experiment of ALL) {
    Deno.test(`${experiment.name} runs and summarises with ${pair}`, async () => {
      const context = fakeContext(models(!isDefaultPair), { isDefaultPair });
      const { units, result } = await runAll(experiment, context);
      assertEquals(new Set(units.map(({ key }) => key)).size, units.length);
      checkResult(experiment, result);
      assert(Object.keys(result.values).length > 0);
      assertEquals(experiment.summarise(input(context, units)), result);
    });
  }
}

Deno.test("plans are the same from run to run, so that finished units are found again", async () => {
  for (const experiment of ALL) {
    const describe = async () =>
      (await experiment.plan(fakeContext(models()))).map(({ key, inputs }) =>
        `${key} ${canonicalJson(inputs)}`
      );
    assertEquals(await describe(), await describe());
  }
});

Deno.test("table9 needs five turns of at least 100 tokens", async () => {
  const context = fakeContext(models());
  const [unit] = await table9.plan(context);
  const { ends } = unit!.inputs as { ends: number[] };
  assertEquals(ends, [120, 240, 360, 480, 600]);
  const short = {
    ...context,
    texts: () => Promise.resolve([{ id: "a", group: "", text: "too short" }]),
  };
  await assertRejects(
    () => table9.plan(short),
    Error,
    `Cannot build dialogues: dataset "mt_bench" must have 5 turns of at least 100 tokens`,
  );
});

Deno.test("plans reject texts that are too short and pairs of two tokenizers", async () => {
  const short = fakeContext(models(), { words: 20 });
  await assertRejects(
    () => fig8.plan(short),
    Error,
    `Cannot cut contexts: dataset "wikitext2" must have a text of at least 100 tokens`,
  );
  const small = fakeModel("Small", { ...SMALL, tokenLength: 2 });
  await assertRejects(
    () => fig8.plan(fakeContext({ ...models(), small })),
    Error,
    "Cannot match heads: both models must have one tokenizer",
  );
});

Deno.test("contexts with the same beginning count once", async () => {
  const context = fakeContext(models());
  const texts = await context.texts("bbh", 3);
  const twice = [
    texts[0]!,
    { ...texts[0]!, id: "again", text: `${texts[0]!.text} more` },
    texts[1]!,
  ];
  const units = await fig2.plan({ ...context, texts: () => Promise.resolve(twice) });
  assertEquals(units.map(({ key }) => key), ["bbh-0", "bbh-1"]);
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
    assert(large.work.tokens <= limit, `large ${large.work.tokens}`);
    assert(small.work.tokens <= large.work.tokens, `small ${small.work.tokens}`);
  });
}

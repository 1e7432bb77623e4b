import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { memorySettings, type MemoryText } from "../../experiments/decoded/memory_cells.ts";
import { MemorySummary, shareOf } from "../../experiments/decoded/memory_summary.ts";
import { equalMemory } from "../../experiments/equal_memory.ts";
import type { ExperimentContext } from "../../experiments/experiment.ts";
import { fakeContext, fakeModel, withManyTexts } from "./fake_models.ts";
import { runAll } from "./fake_runs.ts";

/** A small model with a quarter of the large one's cache and weights that exceed all of it; texts are long enough for the prompts that are wanted. */
function context(isDefaultPair: boolean, settings?: readonly string[]): ExperimentContext {
  const large = fakeModel("Large", { layers: 4, queryHeads: 4, kvHeads: 2, seed: 1 });
  const sizes = { layers: 2, queryHeads: 2, kvHeads: 1, seed: 2 };
  const small = { ...fakeModel("Small", sizes), fileTensorBytes: 1e6 };
  const base = fakeContext({ large, small }, { isDefaultPair, words: 420 });
  return withManyTexts({ ...base, ...(settings && { settings }) });
}

for (const isDefaultPair of [true, false]) {
  const pair = isDefaultPair ? "the embedded pair" : "another pair";
  Deno.test(`equal_memory runs and summarizes with ${pair}`, async () => {
    const { units, result } = await runAll(equalMemory, context(isDefaultPair));
    assertEquals(new Set(units.map(({ key }) => key)).size, units.length);
    const texts = units.map(({ value }) => value as unknown as MemoryText);
    assert(texts.some(({ part }) => part === "choice"));
    if (!isDefaultPair) { for (const { tokens } of texts) assert(tokens >= 360 && tokens <= 822); }
    for (const { name, columns, rows } of result.tables) {
      assert(rows.length > 0, name);
      for (const row of rows) assertEquals(row.length, columns.length, name);
    }
    assertEquals(result.figures.map(({ name }) => name), [
      "kl_by_total",
      "kl_by_total_with_weights",
    ]);
    for (const { series } of result.figures) assert(series.length > 0 && series.length <= 6);
    const chosen = result.tables.find(({ name }) => name === "equal_memory_chosen")!;
    const names = chosen.rows.map((row) => [row[0], row[2]]);
    assertEquals(names.at(-2), [50, "smallkv_query_aware:score=row"], "best where it fits");
    assertEquals(names.at(-1)![0], 50);
    assert(names.at(-1)![1] !== names.at(-2)![1], "its weights do not");
    assert(result.values["chosen50"]!.low > 0);
  });
}

Deno.test("no total is exceeded, and settings with the small model fit only where its cache does", async () => {
  const { units } = await runAll(equalMemory, context(false));
  const summary = new MemorySummary(units.map(({ value }) => value as unknown as MemoryText), 1);
  for (const target of [0.08, 0.12, 0.2, 0.5, 0.6]) {
    for (const hasWeights of [false, true]) {
      for (const setting of summary.settings) {
        for (const outcome of summary.outcomes(setting, { target, hasWeights })) {
          const total = shareOf(outcome, { phase: "decode", hasWeights });
          assert(total <= target + 1e-9, `${setting}: ${total} of ${target}`);
        }
      }
    }
  }
  const at = (setting: string, target: number) =>
    summary.outcomes(setting, { target, hasWeights: false }).length;
  assertEquals(at("smallkv", 0.2), 0, "the small model's cache is a quarter of the large one's");
  assert(at("smallkv", 0.5) > 0);
  assert(at("h2o", 0.08) > 0);
});

Deno.test("prompts for choices and for results differ", async () => {
  for (const isDefaultPair of [true, false]) {
    const units = await equalMemory.plan(context(isDefaultPair));
    const prompts = (part: string) =>
      units.filter(({ key }) => key.startsWith(`${part}/`))
        .map(({ inputs }) =>
          JSON.stringify((inputs as { request: { prompt: number[] } }).request.prompt)
        );
    const reported = new Set(prompts("reported"));
    assert(reported.size > 0 && prompts("choice").length > 0);
    assert(prompts("choice").every((prompt) => !reported.has(prompt)));
  }
  const same = context(true);
  const few = await same.texts("microworld", 7);
  const texts = Array.from({ length: 120 }, () => few).flat();
  const repeated: ExperimentContext = { ...same, texts: () => Promise.resolve(texts) };
  await assertRejects(() => equalMemory.plan(repeated), RequirementError, "no prompt may be both");
});

Deno.test("settings are named as evaluations name them", async () => {
  const names = ["full", "h2o", "smallkv:normalize=rows:small-layers=1", "row"];
  const { units } = await runAll(equalMemory, context(true, names));
  const summary = new MemorySummary(units.map(({ value }) => value as unknown as MemoryText), 1);
  assertEquals(summary.settings, [
    "h2o",
    "smallkv:normalize=rows:small-layers=1",
    "smallkv:score=row",
  ]);
  await assertRejects(() => equalMemory.plan(context(true, ["h2o:pool=3"])), RequirementError);
  const error = await assertRejects(
    () => Promise.try(() => memorySettings(["queryHead"], { ratios: [0.2], seeds: 1 })),
    RequirementError,
  );
  assert(error.message.includes("smallkv:granularity=query_head"), error.message);
});

/** A text on which each setting has one divergence, the second one with twice the bytes that it may have. */
function textWith(id: string, part: "choice" | "reported", kl: Record<string, number>): MemoryText {
  const memory = {
    ...{ full: 100, kept: 10, keptMean: 10, sketches: 0, rest: 0, small: 0, smallWeights: 0 },
    ...{ prompt: 90, scores: 0, host: 0 },
  };
  const targets = [{ target: 0.12, hasWeights: false }];
  const cells = Object.entries(kl).map(([setting, value]) => ({
    ...{ setting, ratio: 0.1, targets, kl: [value, 3 * value], same: [1, 0] },
    memory: { ...memory, small: setting === "large" ? 20 : 0 },
  }));
  return { id, group: "task", part, tokens: 90, cells };
}

Deno.test("best() chooses on other prompts, compares on the reported ones and corrects for all that was declared", () => {
  const choice = [textWith("0", "choice", { a: 1, b: 2, c: 3, large: 0 })];
  const reported = Array.from(
    { length: 12 },
    (_, k) => textWith(`${k + 1}`, "reported", { a: 2 + k / 10, b: 1, c: 4 + k / 7, large: 0 }),
  );
  const summary = new MemorySummary([...choice, ...reported], 3);
  const { totals, family } = summary.best([0.12]);
  const [first, second] = totals;
  assertEquals(family, 3);
  assertEquals([first!.chosen, first!.tooLarge], ["a", ["large"]]);
  assertEquals([second!.chosen, second!.comparisons.length], [undefined, 0]);
  const [b, c] = first!.comparisons;
  assertEquals([b!.other, b!.wins, b!.losses], ["b", 0, 12]);
  assertEquals([c!.other, c!.wins, c!.losses], ["c", 12, 0]);
  // Means over two steps are twice the first one.
  assertAlmostEquals(b!.difference.value, 2 * (1 - 2.55), 1e-9);
  assertAlmostEquals(c!.p, 2 / 2 ** 12, 1e-12);
  assertAlmostEquals(c!.adjusted, family * c!.p, 1e-12);
});

import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { decayChoice } from "../../experiments/decay_choice.ts";
import type {
  Experiment,
  ExperimentContext,
  ExperimentResult,
  ExperimentText,
} from "../../experiments/experiment.ts";
import { fig10 } from "../../experiments/fig10.ts";
import { fig1d } from "../../experiments/fig1d.ts";
import { fig5 } from "../../experiments/fig5.ts";
import { fig6 } from "../../experiments/fig6.ts";
import { fig7 } from "../../experiments/fig7.ts";
import { klByPolicy } from "../../experiments/kl_by_policy.ts";
import { lossPrediction } from "../../experiments/loss_prediction.ts";
import { microworldTasks } from "../../experiments/microworld_tasks.ts";
import { completeText, policyBatches } from "../../experiments/decoded/policy_texts.ts";
import { selectionQuality } from "../../experiments/selection_quality.ts";
import { table5 } from "../../experiments/table5.ts";
import { table6 } from "../../experiments/table6.ts";
import { fakeContext, fakeModel, type FakeOptions } from "./fake_models.ts";
import { runAll } from "./fake_runs.ts";

const LARGE: FakeOptions = { layers: 2, queryHeads: 4, kvHeads: 2, seed: 1 };
const SMALL: FakeOptions = { layers: 2, queryHeads: 2, kvHeads: 1, seed: 2 };
const TASKS = ["roll", "route", "list", "sums", "qa", "sort", "ask"];
const ALL = [
  fig1d,
  fig5,
  fig6,
  fig10,
  klByPolicy,
  selectionQuality,
  lossPrediction,
  decayChoice,
  table5,
  table6,
];

function context(isDefaultPair: boolean, hasOther = false): ExperimentContext {
  const large = fakeModel("Large", LARGE);
  const other = hasOther ? { other: fakeModel("Other", { ...LARGE, seed: 3 }) } : {};
  const models = { large, small: fakeModel("Small", SMALL), ...other };
  const base = fakeContext(models, { isDefaultPair, words: 120 });
  return {
    ...base,
    async texts(name, limit) {
      if (name === "wikitext2") return await base.texts(name, limit);
      const known = await base.texts(name, Math.min(limit, 21));
      const texts = Array.from({ length: limit }, (_, index) => known[index % known.length]!);
      const groups = name === "bbh" ? ["word_sorting"] : TASKS;
      return texts.map((text, index): ExperimentText => ({
        ...text,
        id: `${groups[index % groups.length]}/${index}`,
        group: groups[index % groups.length]!,
        ...(name === "microworld" && { answer: " sun moon river stone." }),
      }));
    },
  };
}

/** A context with enough running text. */
function withLines(isDefaultPair: boolean): ExperimentContext {
  const given = context(isDefaultPair);
  return { ...given, texts: (name, limit) => manyLines(given, name, limit) };
}

function checkResult(experiment: Experiment, { values, tables, figures }: ExperimentResult): void {
  for (const [key, measured] of Object.entries(values)) {
    assert(key in experiment.claims, key);
    const { value, low, high } = measured!;
    assert(low - 1e-9 <= value && value <= high + 1e-9, `${key}: ${low} ${value} ${high}`);
  }
  for (const { name, columns, rows } of tables) {
    assert(rows.length > 0, name);
    for (const row of rows) {
      assertEquals(row.length, columns.length, name);
      for (const cell of row) if (typeof cell === "number") assert(Number.isFinite(cell), name);
    }
  }
  for (const { name, series, yTitle, isLog, kind } of figures) {
    assert(kind === "heatmap" || series.length <= 6, `${name}: curves`);
    assertEquals(isLog === true, kind !== "heatmap" && /nats/.test(yTitle), `${name}: axis`);
    assert(series.length > 0, name);
    for (const { x, y, low, high } of series) {
      // A point of a cloud is one text, which has no interval.
      for (const list of kind === "scatter" ? [y] : [y, low!, high!]) {
        assertEquals(list.length, x.length, name);
      }
      for (const value of y) assert(Number.isFinite(value), name);
    }
  }
}

for (const isDefaultPair of [true, false]) {
  const pair = isDefaultPair ? "the embedded pair" : "another pair";
  for (const experiment of ALL) {
    Deno.test(`${experiment.name} runs and summarises with ${pair}`, async () => {
      const { units, result } = await runAll(experiment, withLines(isDefaultPair));
      assertEquals(new Set(units.map(({ key }) => key)).size, units.length);
      assert(Object.keys(result.values).length > 0);
      checkResult(experiment, result);
    });
  }
}

Deno.test("fig7 needs a second small model that reads the same tokens", async () => {
  const none = await runAll(fig7, context(true));
  assertEquals(none.result.values, {});
  const { units, result } = await runAll(fig7, context(true, true));
  assertEquals(units.length, 3 * TASKS.length);
  checkResult(fig7, result);
  assertEquals(result.values.meanGain!.value, 0);
});

Deno.test("table5 and table6 count the cache of each small model's cut", async () => {
  const given = withLines(true);
  // A KV head of the small model over 2 x 2 of the large one, both of 2 layers.
  const whole = 100 / 2;
  const added = (result: ExperimentResult) =>
    Object.fromEntries(
      result.tables[0]!.rows.map((row) => [row[0], Number(row[13]) - Number(row[12])]),
    );
  const compressed = await runAll(table5, given);
  assertStrictEquals(added(compressed.result)["SmallKV"], whole);
  assertEquals(added(compressed.result)["H2O"], 0);
  assert(Math.abs(added(compressed.result)["SmallKV, small model at 40 %"]! - 0.4 * whole) < 1e-9);
  const early = await runAll(table6, given);
  const first = "SmallKV, small model's first 1 of 2 layers";
  assert(Math.abs(added(early.result)[first]! - whole / 2) < 1e-9);
  assert(Math.abs(added(early.result)[`${first} at 40 %`]! - 0.4 * whole / 2) < 1e-9);
  assert(Math.abs(early.result.values.bothCache!.value - 0.4 * whole / 2) < 1e-9);
  const cuts = (await table6.plan(given)).map(({ inputs }) => JSON.stringify(inputs));
  assert(cuts.some((inputs) => inputs.includes('"smallLayers":1')));
});

Deno.test("microworld_tasks shows every task, budget and policy", async () => {
  const { result } = await runAll(microworldTasks, context(true));
  const table = result.tables.find(({ name }) => name === "microworld_tasks")!;
  assertEquals(table.rows.length, TASKS.length * (1 + 5 * 5));
  checkResult(microworldTasks, result);
  const full = result.tables[0]!.rows.find(([name]) => name === "full cache")!;
  assertEquals(full[9], 100);
  assertEquals((await microworldTasks.plan(context(false))).length, 0);
});

Deno.test("answers of the embedded pair end with its end token, other texts are completed", async () => {
  const given = context(true);
  const [batch] = await policyBatches(given);
  const text = await completeText(given, batch!.texts[0]!, 1);
  assertEquals(text.continuation.at(-1), 0);
  assertEquals(
    given.large.tokenTexts(text.continuation.slice(0, -1)).join(""),
    " sun moon river stone.",
  );
  const batches = await policyBatches(context(false));
  assertEquals(batches.map(({ group }) => group), ["gsm8k", "bbh", "wikitext2"]);
  const [open, , running] = batches;
  assertEquals(open!.texts[0]!.continuation, undefined);
  assertEquals(running!.texts[0]!.continuation!.length, 12);
  const completed = await completeText(context(false), open!.texts[0]!, 12);
  assertEquals(completed.continuation.length, 12);
});

Deno.test("examples are left out until a prompt fits, but never so many that policies can drop nothing", async () => {
  const given = context(false);
  const words = (count: number) => new Array(count).fill("word").join(" ");
  const lengths = async (...parts: number[]) => {
    const text = parts.map(words).join("\n\n");
    const texts = (name: string, limit: number) =>
      name === "wikitext2"
        ? manyLines(given, name, limit)
        : Promise.resolve([{ id: "0", group: "task", text }]);
    const [batch] = await policyBatches({ ...given, texts });
    return batch!.texts[0]!.prompt.length;
  };
  const whole = given.large.encode(`${words(120)}\n\n${words(60)}`).length;
  assertStrictEquals(await lengths(200, 120, 60), whole);
  assertEquals(await lengths(200, 300, 20), 256);
});

Deno.test("choices are made on texts that no result uses", async () => {
  for (const isDefaultPair of [true, false]) {
    const given = context(isDefaultPair);
    const prompts = async (isTuning: boolean) =>
      (await policyBatches({ ...given, texts: (name, limit) => manyLines(given, name, limit) }, {
        isTuning,
      })).flatMap(({ texts }) => texts.map(({ id }) => id));
    const reported = new Set(await prompts(false));
    const tuning = await prompts(true);
    assert(tuning.length > 0);
    assert(tuning.every((id) => !reported.has(id)));
  }
});

/** More running text than the fakes have by themselves. */
async function manyLines(
  given: ExperimentContext,
  name: Parameters<ExperimentContext["texts"]>[0],
  limit: number,
): Promise<readonly ExperimentText[]> {
  const texts = await given.texts(name, limit);
  if (name !== "wikitext2") return texts;
  return Array.from({ length: limit }, (_, index) => texts[index % texts.length]!);
}

Deno.test("selection_quality: the bound is above every other score, and a twin's row equals it", async () => {
  const twin = () => fakeModel("Twin", LARGE);
  const base = context(false);
  const given = { ...fakeContext({ large: twin(), small: twin() }), texts: base.texts };
  const { units } = await runAll(selectionQuality, given);
  for (const { value } of units) {
    const { shares } = value as { shares: Record<string, { all: number }> };
    for (const ratio of [0.05, 0.1, 0.2, 0.4]) {
      const at = (key: string) => shares[`${key}/${ratio}`]!.all;
      assert(Math.abs(at("row") - at("bound")) < 1e-6);
      assert(Math.abs(at("accumulated") - at("global")) < 1e-6);
    }
  }
});

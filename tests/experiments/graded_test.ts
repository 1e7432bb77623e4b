import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { DataError } from "../../core/check.ts";
import type { ItemScore } from "../../evaluation/summary.ts";
import { EXPERIMENTS } from "../../experiments/mod.ts";
import type { ExperimentContext, GradedAnswers } from "../../experiments/experiment.ts";
import { Graded, shareAhead, variantSetting } from "../../experiments/graded/graded.ts";
import { entryBytes } from "../../experiments/decoded/policy_stats.ts";
import { gradedExperiments } from "../../experiments/graded/graded_experiment.ts";
import { GROUP_TASKS, TABLE1_ROWS } from "../../experiments/graded/table1_printed.ts";
import { LONGBENCH_TASKS } from "../../data/longbench.ts";
import { settingScores } from "../evaluation/item_scores.ts";
import { fakeModel } from "./fake_models.ts";

const model = fakeModel("Model", { layers: 2, queryHeads: 2, seed: 1 });
const input = {
  units: [],
  scale: "small" as const,
  seed: 1,
  large: model,
  small: model,
  isDefaultPair: false,
};

function answersOf(name: string, scores: readonly ItemScore[]): GradedAnswers {
  const task = {
    name,
    title: name,
    metric: "score",
    average: "groups",
    items: 4,
    skipped: 0,
  } as const;
  return {
    models: { large: model.hash },
    tasks: [task],
    scores: scores.map((score) => ({ ...score, task: name })),
  };
}

function run(name: string, answers: GradedAnswers) {
  const found = gradedExperiments(EXPERIMENTS, answers);
  const experiment = found.find((one) => one.name === `${name}_scores`)!;
  return experiment.summarise({
    ...input,
    units: [{ key: "answers", value: JSON.parse(JSON.stringify(answers)) }],
  });
}

Deno.test("Graded averages an item over budgets before it pairs settings", () => {
  const answers = answersOf("bbh", [
    ...settingScores("smallkv", 0.1, [1, 1, 0, 1]),
    ...settingScores("smallkv", 0.2, [1, 0, 0, 1]),
    ...settingScores("h2o", 0.1, [0, 1, 0, 0]),
    ...settingScores("h2o", 0.2, [0, 1, 1, 0]),
    ...settingScores("h2o", 1, [1, 1, 1, 1]), // is no part of what smaller budgets score
  ]);
  const [bbh] = Graded.tasks(answers, ["bbh", "gsm8k"], input) as [Graded];
  assertEquals(bbh.at(["smallkv", 0.1, 0.2]).map(({ score }) => score), [1, 0.5, 0, 1]);
  // Group a: (1 + 0)/2 - (0 + 0.5)/2 = 0.25; group b: (0.5 + 1)/2 - (1 + 0)/2 = 0.25.
  assertEquals(bbh.gain(["smallkv", 0.1, 0.2], ["h2o", 0.1, 0.2])!.value, 25);
  assertEquals(bbh.ratios, [0.1, 0.2]);
  assertEquals(bbh.ratio(["smallkv", 0.1], ["h2o", 0.1])!.value, 3);
  assertEquals(bbh.ratio(["smallkv", 0.1], ["full", 1]), undefined);
});

Deno.test("shareAhead() counts contests won against every other setting", () => {
  const answers = answersOf("bbh", [
    ...settingScores("a", 0.1, [1, 1, 1, 1]),
    ...settingScores("b", 0.1, [0, 0, 0, 0]),
    ...settingScores("a", 0.2, [1, 1, 1, 1]),
    ...settingScores("b", 0.2, [1, 1, 1, 1]),
  ]);
  const [bbh] = Graded.tasks(answers, ["bbh"], input) as [Graded];
  const contests = bbh.ratios.map((ratio) => bbh.contest(["a", ratio], [["b", ratio]]));
  assertEquals(shareAhead(contests, input), { value: 50, low: 50, high: 50, n: 4 });
  assertEquals(shareAhead([bbh.contest(["a", 0.1], [["none", 0.1]])], input), undefined);
});

Deno.test("fig5 from graded answers gives scores relative to the full cache", () => {
  const scores = [
    ...settingScores("full", 1, [1, 1, 1, 0], { decodeSeconds: 3 }),
    ...settingScores("small model alone", 1, [0, 0, 1, 0], { decodeSeconds: 1 }),
    ...settingScores("smallkv", 0.05, [1, 1, 0, 0]),
    ...settingScores("h2o", 0.05, [0, 0, 1, 0]),
    ...settingScores("pyramid_budget", 0.05, [0, 0, 0, 0]),
    ...settingScores("random", 0.05, [0, 0, 0, 0]),
  ];
  const { values, notes } = run("fig5", answersOf("gsm8k", scores));
  const value = (key: string) => Math.round(1000 * values[key]!.value) / 1000;
  assertEquals(value("fullScore"), 75);
  assertEquals(value("smallkvLow"), 66.667);
  assertEquals(value("h2oGain"), 25);
  assertEquals(value("cellsAhead"), 100);
  assertEquals(value("latency"), 3);
  assertEquals(values["h2oDrop"], undefined);
  assertEquals(notes[0], "Scores of graded answers to 4 items; no model was run.");
});

Deno.test("table1 from graded answers averages the tasks of each group", () => {
  const scores = ["full", "smallkv", "h2o", "pyramid_budget"].flatMap((setting, index) =>
    settingScores(setting, setting === "full" ? 1 : 0.05, [1 - index / 4, 1 - index / 4]).map(
      (score, item) => ({ ...score, group: ["hotpotqa", "musique"][item]! }),
    )
  );
  const { values, tables } = run("table1", answersOf("longbench", scores));
  assertEquals(values["SmallKV_5"]!.value, 0.75);
  assertEquals(values["groupsAhead"]!.value, 100);
  assertEquals(values["comparable_multi"]!.value, -25);
  assertEquals(values["comparable_code"], undefined);
  assertEquals(tables[0]!.rows[0]!.slice(0, 3), ["full", 100, 100]);
});

Deno.test("every experiment with a part for graded answers copes with any settings", () => {
  const names = EXPERIMENTS.flatMap(({ name, graded }) => graded ? [name] : []);
  assert(names.length >= 8);
  for (const task of ["bbh", "gsm8k", "longbench", "microworld"]) {
    const answers = answersOf(task, settingScores("tova", 0.1, [1, 0]));
    for (const experiment of gradedExperiments(EXPERIMENTS, answers)) {
      const { values } = experiment.summarise({
        ...input,
        units: [{ key: "answers", value: JSON.parse(JSON.stringify(answers)) }],
      });
      const unknown = Object.keys(values).filter((key) => !(key in experiment.claims));
      assertEquals(unknown, [], experiment.name);
    }
  }
});

Deno.test("gradedExperiments() refuses answers of other models", async () => {
  const answers = { ...answersOf("gsm8k", settingScores("full", 1, [1])), models: { large: "x" } };
  const [experiment] = gradedExperiments(EXPERIMENTS, answers) as [typeof EXPERIMENTS[number]];
  const context = { large: model, small: model } as unknown as ExperimentContext;
  await assertRejects(async () => await experiment.plan(context), DataError);
});

Deno.test("settings of ablations are named as evaluations name them", () => {
  assertEquals(variantSetting("smallkv"), "smallkv");
  assertEquals(variantSetting("withoutMarginal"), "smallkv:marginal=false");
  assertEquals(variantSetting("withoutSmallModel"), "without_small_model");
});

Deno.test("the groups of Table 1 are the paper's tasks, as many as it prints", () => {
  const known = LONGBENCH_TASKS.filter(({ isInPaper }) => isInPaper).map(({ name }) => name);
  assertEquals(Object.values(GROUP_TASKS).flat().sort(), known.sort());
  for (const { tasks } of TABLE1_ROWS) {
    for (const [group, scores] of Object.entries(tasks)) {
      assertEquals(scores.length, GROUP_TASKS[group as keyof typeof GROUP_TASKS].length);
    }
  }
});

Deno.test("equal_memory draws scores of graded answers by all their bytes", () => {
  const small = fakeModel("Small", { layers: 1, queryHeads: 1, seed: 2 });
  const guided = { models: { large: model.hash, small: small.hash } };
  const full = 3 * entryBytes(model);
  const bytes = (large: number, small = 0) => ({
    cachedTokens: 3,
    bytes: { large: large * full, small: small * full, host: 0 },
  });
  const answers = {
    ...answersOf("gsm8k", [
      ...settingScores("full", 1, [1, 1, 1, 1], bytes(1)),
      ...settingScores("h2o", 0.2, [1, 0, 0, 0], bytes(0.2)),
      ...settingScores("smallkv", 0.2, [1, 1, 1, 0], { ...guided, ...bytes(0.2, 0.25) }),
    ]),
    ...guided,
  };
  const experiment = gradedExperiments(EXPERIMENTS, answers)
    .find(({ name }) => name === "equal_memory_scores")!;
  const { tables, figures } = experiment.summarise({
    ...input,
    small,
    units: [{ key: "answers", value: JSON.parse(JSON.stringify(answers)) }],
  });
  const table = (name: string) => tables.find((one) => one.name === name)!.rows;
  const weights = 100 * small.fileTensorBytes / full;
  const sizes = [["h2o", 20, 20], ["smallkv", 45, 45 + weights], ["full", 100, 100]] as const;
  for (const [index, row] of table("gsm8k_totals").entries()) {
    const [setting, inAll, weighted] = sizes[index]!;
    assertEquals(row[0], setting);
    assertAlmostEquals(Number(row[2]), inAll);
    assertAlmostEquals(Number(row[4]), weighted);
  }
  assert(45 + weights > 100, "with its weights the small model is no help");
  assertEquals(table("gsm8k_best_of_total").slice(2).map((row) => [row[0], row[2]]), [
    ["20 %", "h2o"],
    ["50 %", "smallkv"],
    ["50 %", "h2o"],
  ]);
  const names = ["gsm8k_budget", "gsm8k_total", "gsm8k_total_with_weights"];
  assertEquals(figures.map(({ name }) => name), names);
});

/**
 * Fig. 1d: the large model's own view against the small model's, at equal cache and without marginal tokens.
 *
 * @module
 */

import { mean } from "../core/stats.ts";
import { trendOf } from "./claims.ts";
import type { Decoded } from "./decoded/decoded.ts";
import { policyExperiment } from "./decoded/policy_experiment.ts";
import { type PolicyCell, variantPoints } from "./decoded/policy_runs.ts";
import { measureOf, steppedCells } from "./decoded/policy_stats.ts";
import type { Experiment, Figure, GradedPart } from "./experiment.ts";
import { Graded, shareAhead, variantSetting } from "./graded/graded.ts";
import { lineOf } from "./result.ts";

const BUDGET = 0.1;

const TASKS = ["gsm8k", "bbh", "longbench", "ruler", "mmlu", "microworld"] as const;

const GRADED: GradedPart = {
  tasks: TASKS,
  claims: {
    tasksBetter: trendOf("C03", "tasks on which the small model's choice scores higher", {
      expected: { above: 50 },
      paper: 100,
      unit: "%",
      note: "Groups of items count as tasks; the paper's six are not readable.",
    }),
    scoreGain: trendOf("C03", "score, small model's view minus own view", { unit: "%" }),
  },
  summarise(answers, input) {
    const tasks = Graded.tasks(answers, TASKS, input);
    const own = [variantSetting("withoutSmallModel"), BUDGET] as const;
    const guided = [variantSetting("withoutMarginal"), BUDGET] as const;
    const contests = tasks.flatMap(({ name, scores }) =>
      [...new Set(scores.map(({ group }) => group))].map((wanted) => {
        const groups = (group: string) => group === wanted;
        return Graded.tasks(answers, [name], { ...input, groups })[0]!.contest(guided, [own]);
      })
    );
    return {
      values: {
        tasksBetter: shareAhead(contests, input),
        scoreGain: tasks[0]!.gain(guided, own),
      },
      tables: tasks.flatMap((task) => task.table("fig1d_scores", ["full", own[0], guided[0]])),
      figures: [],
      notes: [`The difference of scores is of ${tasks[0]!.title}.`],
    };
  },
};

/** Fig. 1d. */
export const fig1d: Experiment = policyExperiment({
  name: "fig1d",
  module: import.meta.url,
  title: "Rankings by the large and by the small model",
  question: "At 10 %, is the small model's choice of tokens better than the large model's own?",
  source: "Fig. 1d",
  graded: GRADED,
  claims: {
    tasksBetter: trendOf(
      "C03",
      "tasks on which the small model's choice agrees more often with the full cache",
      {
        expected: { above: 50 },
        paper: 100,
        unit: "%",
        note: "The paper's six tasks are not readable; ours are those of the pair at hand.",
      },
    ),
    sameGain: trendOf(
      "C03",
      "steps with the full cache's choice, small model's view minus own view",
      { unit: "%" },
    ),
    klGain: trendOf("C03", "divergence, own view minus small model's view", { unit: "nats" }),
  },
  points: () => variantPoints(["withoutSmallModel", "withoutMarginal"], [BUDGET]),
  summarise(decoded) {
    const own = steppedCells(decoded.cells("withoutSmallModel", BUDGET));
    const guided = steppedCells(decoded.cells("withoutMarginal", BUDGET));
    return {
      values: {
        tasksBetter: tasksBetter(decoded, own, guided),
        sameGain: decoded.gain(guided, own),
        klGain: decoded.difference(own, guided, "kl"),
      },
      tables: [
        decoded.table(
          "fig1d_views",
          "Own view (dropped for good) and small model's view, equal cache, no marginal tokens",
        ),
      ],
      figures: [taskFigure(decoded, [["own view", own], ["small model's view", guided]])],
      notes: [
        'The own view is the ablation "without both": the sizes of SmallKV without marginal tokens, ranked by the large model itself.',
      ],
    };
  },
});

function tasksBetter(
  decoded: Decoded,
  own: readonly PolicyCell[],
  guided: readonly PolicyCell[],
) {
  if (own.length === 0) return undefined;
  const statistic = (texts: Uint32Array) => {
    const gains = new Map<string, number>();
    for (const text of texts) {
      const { group } = own[text]!;
      const gain = measureOf(guided[text]!, "same") - measureOf(own[text]!, "same");
      gains.set(group, (gains.get(group) ?? 0) + gain);
    }
    return 100 * mean([...gains.values()].map((gain) => gain > 0 ? 1 : 0));
  };
  return decoded.resampled(own.length, statistic);
}

function taskFigure(
  decoded: Decoded,
  views: readonly (readonly [label: string, cells: readonly PolicyCell[]])[],
): Figure {
  const tasks = [...new Set(views.flatMap(([, cells]) => cells.map(({ group }) => group)))];
  const series = views.map(([label, cells]) => {
    const means = tasks.map((task) =>
      decoded.mean(cells.filter(({ group }) => group === task), "same")!
    );
    return lineOf(label, tasks, means, 100);
  });
  return {
    name: "fig1d_tasks",
    title: "Own view and small model's view at 10 %",
    kind: "bar",
    xTitle: "task",
    yTitle: "steps with the full cache's choice (%)",
    series,
    paper: [],
  };
}

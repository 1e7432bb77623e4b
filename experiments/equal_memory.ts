/**
 * Policies at equal total memory: kept tokens, sketches, the small model's cache and its weights.
 *
 * @module
 */

import { wilsonInterval } from "../analysis/score_intervals.ts";
import { bootstrapInterval } from "../core/bootstrap.ts";
import { RequirementError } from "../core/check.ts";
import { equalTotals, TOTALS } from "../evaluation/equal_totals.ts";
import type { EvaluatedModels } from "../evaluation/evaluated_models.ts";
import { summaryCells } from "../evaluation/summary.ts";
import { ownClaim } from "./claims.ts";
import { memorySettings, memoryTexts, memoryWorkUnits } from "./decoded/memory_cells.ts";
import { MemorySummary, type PromptOutcome, shareOf } from "./decoded/memory_summary.ts";
import { bestTables, memoryFigures, memoryTables, promptTable } from "./decoded/memory_tables.ts";
import { entryBytes } from "./decoded/policy_stats.ts";
import { type BatchOptions, policyBatches } from "./decoded/policy_texts.ts";
import type {
  Claim,
  Experiment,
  ExperimentContext,
  GradedPart,
  Measured,
  Scale,
  SummaryInput,
} from "./experiment.ts";
import { scoreFigures } from "./report/evaluation_figures.ts";
import { memoryTable } from "./report/evaluation_tables.ts";
import {
  bestComparisonTables,
  totalFigures,
  totalledTasks,
  totalNotes,
  totalTables,
} from "./report/evaluation_totals.ts";
import { exactly, percent } from "./result.ts";
import { defined, seeded } from "./similarity.ts";

const NAME = "equal_memory";

/** Settings that are compared unless others are named, as `evaluate` takes them. */
export const EQUAL_MEMORY_SETTINGS: readonly string[] = [
  "full",
  "random",
  "h2o",
  "snapkv",
  "snapkv_decoding",
  "r_kv",
  "expected_attention",
  "kvzip",
  "tova",
  "smallkv",
  "smallkv:normalize=rows",
  "smallkv_query_aware",
  "smallkv_query_aware:score=row",
  "smallkv_query_aware:match-by=fitted:score=row",
  "quest",
  "key_sketch",
  "key_sketch:rest=mean",
];

/** Listed budgets; what else a policy needs comes on top. */
const RATIOS = [0.05, 0.1, 0.2, 0.4];
const QUICK_RATIOS = [0.05, 0.2];
/** Prompts of another pair than the embedded one. */
const LENGTHS = { least: 360, most: 822 };

/** Prompts of each task or dataset. */
interface PromptCounts {
  /** Prompts on which the best policy is chosen, all behind those that any result is reported on. */
  readonly choice: number;
  /** Prompts that results are reported on. */
  readonly reported: number;
  /** Forced tokens; the first of them is predicted by the prompt. */
  readonly newTokens: number;
  /** Seeds of policies that draw. */
  readonly seeds: number;
}

const SIZES: Readonly<Record<Scale, PromptCounts>> = {
  smoke: { choice: 1, reported: 1, newTokens: 9, seeds: 1 },
  small: { choice: 2, reported: 4, newTokens: 25, seeds: 3 },
  paper: { choice: 8, reported: 32, newTokens: 25, seeds: 3 },
};

/** Names that the plan's own policies may have, the first that was run counts. */
const SKETCHES = ["key_sketch:rest=mean", "key_sketch"];
const FITTED = [
  "smallkv_query_aware:match-by=fitted:score=row",
  "smallkv:match-by=fitted:score=row",
];
const ROWS = ["smallkv_query_aware:score=row", "smallkv:score=row"];

const ON_POINT = "The plan's bar is on the value itself";

const CLAIMS: Readonly<Record<string, Claim>> = {
  sketchKl: ownClaim("O01", { expected: { below: 0.05 } }),
  sketchSame: ownClaim("O02", { expected: { above: 96 } }),
  sketchTotal: ownClaim("O03", { expected: { below: 12 } }),
  sketchBelowH2o: ownClaim("O04", {
    expected: { above: 50 },
    note: `${ON_POINT}: 11 of 12 prompts.`,
  }),
  sketchBelowRow: ownClaim("O05", {
    expected: { above: 50 },
    note: `${ON_POINT}: 10 of 12 prompts.`,
  }),
  fitted5: ownClaim("O06", {
    at: "5 % of entries",
    expected: { below: 1 },
    note: `${ON_POINT}: 0.8.`,
  }),
  fitted10: ownClaim("O06", {
    at: "10 % of entries",
    expected: { below: 1 },
    note: `${ON_POINT}: 0.8.`,
  }),
  ...Object.fromEntries(
    TOTALS.map((target) => [
      keyOf(target),
      ownClaim("O07", { at: `${100 * target} % in all`, expected: { above: 0 } }),
    ]),
  ),
};

function keyOf(target: number): string {
  return `chosen${100 * target}`;
}

/** Policies at equal total memory. */
export const equalMemory: Experiment = {
  name: NAME,
  module: import.meta.url,
  title: "Equal total memory",
  question: "Which policy is best for how many bytes, everything that it needs counted?",
  source: "no counterpart",
  usesPolicies: true,
  inputs: ["large", "small", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: CLAIMS,
  checkSettings: (settings) => void memorySettings(settings, { ratios: QUICK_RATIOS, seeds: 1 }),
  async plan(context) {
    const { scale, settings = EQUAL_MEMORY_SETTINGS } = context;
    const { choice, reported, seeds } = SIZES[scale];
    const points = {
      settings: memorySettings(settings, {
        ratios: scale === "smoke" ? QUICK_RATIOS : RATIOS,
        seeds,
      }),
      targets: TOTALS,
    };
    const own = await batchesOf(context, reported, false);
    const others = await batchesOf(context, choice, true);
    checkDisjoint(own, others);
    return [
      ...memoryWorkUnits(own, "reported", points),
      ...memoryWorkUnits(others, "choice", points),
    ];
  },
  summarise,
  graded: gradedPart(),
};

async function batchesOf(context: ExperimentContext, items: number, isTuning: boolean) {
  const { newTokens } = SIZES[context.scale];
  const options: BatchOptions = { items, isTuning, newTokens, lengths: LENGTHS };
  return await policyBatches(context, options);
}

/** Choosing on prompts that are reported would make the chosen setting look better than it is. */
function checkDisjoint(
  reported: Awaited<ReturnType<typeof batchesOf>>,
  choice: Awaited<ReturnType<typeof batchesOf>>,
): void {
  const prompts = (batches: typeof reported) =>
    batches.flatMap(({ texts }) => texts.map(({ prompt }) => prompt.join()));
  const known = new Set(prompts(reported));
  const shared = prompts(choice).filter((prompt) => known.has(prompt)).length;
  if (shared === 0) return;
  throw new RequirementError({
    action: "compare at equal memory",
    requirement: "no prompt may be both for choices and for results",
    current: shared,
  });
}

function summarise(input: SummaryInput) {
  const summary = new MemorySummary(memoryTexts(input.units), input.seed);
  const best = summary.best(TOTALS);
  const againstH2o = best.totals.filter(({ hasWeights }) => !hasWeights).map((total) => {
    const h2o = total.comparisons.find(({ other }) => other === "h2o");
    const itself = total.chosen === "h2o" ? exactly(0, summary.prompts) : undefined;
    return [keyOf(total.target), h2o?.difference ?? itself] as const;
  });
  return {
    values: defined({
      ...sketchValues(summary),
      ...fittedValues(summary, input.seed),
      ...Object.fromEntries(againstH2o),
    }),
    tables: [
      ...bestTables(summary, best),
      ...memoryTables(summary, TOTALS),
      ...promptTable(summary, TOTALS),
    ],
    figures: memoryFigures(summary, best.totals),
    notes: NOTES,
  };
}

const NOTES: readonly string[] = [
  "Bytes are counted in 16 bits by the tokens that each step's attention sees, the newest one included; of all steps the largest counts, since memory has to be there for it. Measurements themselves run on resident stores, which hold every token.",
  "The prompt's phase: every policy holds the whole prompt before it drops anything, so that none needs less than the full cache for a moment. Policies that drop tokens of the prompt from layer to layer hold less; theirs is an upper bound.",
  "Decoding: kept keys and values, sketches, sums of values where the rest counts, and the small model's cache; with weights, all weights of the small model's file, even where it stops early. The large model's weights and activations are not counted.",
  "Host: where dropped tokens may return, the large model's complete cache waits there. Scores: what a ranking has to remember from step to step, in 32 bits. Both are in no total.",
  "Equal totals: for each prompt and policy the largest budget, in whole tokens, with which everything fits; where that leaves nothing, or a total turns out larger on any prompt, the policy does not fit. One answer at a time: the small model's weights are shared by answers at the same time.",
  "The setting for each total is chosen by the mean divergence on prompts that no result is reported on; intervals are paired over the reported prompts, resampled within tasks, and p is corrected by Holm for all comparisons that were declared, every other setting at every total, without the small model's weights and with them apart.",
];

function firstRun(summary: MemorySummary, names: readonly string[]): string {
  return names.find((name) => summary.settings.includes(name)) ?? names[0]!;
}

/** What is claimed of sketches of keys at 5 % of the entries. */
function sketchValues(summary: MemorySummary): Record<string, Measured | undefined> {
  const sketch = summary.outcomes(firstRun(summary, SKETCHES), { ratio: 0.05 });
  if (sketch.length === 0) return {};
  const below = (others: readonly PromptOutcome[]) => {
    if (others.length === 0) return undefined;
    const won = sketch.filter(({ kl }, prompt) => kl < others[prompt]!.kl).length;
    return percent(wilsonInterval(won, sketch.length));
  };
  const total = (outcome: PromptOutcome) => shareOf(outcome, { phase: "decode", hasWeights: true });
  return {
    sketchKl: summary.average(sketch.map(({ kl }) => kl)),
    sketchSame: percent(summary.average(sketch.map(({ same }) => same))),
    sketchTotal: percent(exactly(Math.max(...sketch.map(total)), sketch.length)),
    sketchBelowH2o: below(summary.outcomes("h2o", { ratio: 0.4 })),
    sketchBelowRow: below(summary.outcomes(firstRun(summary, ROWS), { ratio: 0.05 })),
  };
}

/** What is claimed of fitted maps of small heads. */
function fittedValues(summary: MemorySummary, seed: number): Record<string, Measured | undefined> {
  const ratioAt = (ratio: number) => {
    const fitted = summary.outcomes(firstRun(summary, FITTED), { ratio });
    const rows = summary.outcomes(firstRun(summary, ROWS), { ratio });
    if (fitted.length === 0 || rows.length === 0) return undefined;
    const sum = (outcomes: readonly PromptOutcome[], drawn: Uint32Array) =>
      drawn.reduce((total, prompt) => total + outcomes[prompt]!.kl, 0);
    const statistic = (drawn: Uint32Array) => sum(fitted, drawn) / Math.max(1e-9, sum(rows, drawn));
    return bootstrapInterval(fitted.length, statistic, seeded({ seed }));
  };
  return { fitted5: ratioAt(0.05), fitted10: ratioAt(0.1) };
}

/** Scores of graded answers by all the bytes that they took. */
function gradedPart(): GradedPart {
  return {
    tasks: ["gsm8k", "bbh", "ruler", "microworld"],
    claims: {},
    summarise({ tasks, scores, models }, { large, small }) {
      const sized: EvaluatedModels = {
        large: { ...large, hash: models.large, tokenBytes: entryBytes(large) },
        ...(models.small !== undefined && {
          small: { ...small, hash: models.small, tokenBytes: entryBytes(small) },
        }),
      };
      const cells = summaryCells(scores, tasks);
      const totals = equalTotals(scores, tasks, sized);
      const own = totalledTasks(tasks, { totals, cells });
      return {
        values: {},
        tables: [
          ...own.flatMap((one) => [
            ...totalTables(one, sized),
            memoryTable(one.task, one.cells, sized),
          ]),
          ...bestComparisonTables(own, totals.family),
        ],
        figures: own.flatMap((one) => [...scoreFigures(one.task, one.cells), ...totalFigures(one)]),
        notes: [
          "Bytes at the end of an answer, by counting the tokens kept; the small model's weights count in the totals that say so.",
          ...totalNotes(own),
        ],
      };
    },
  };
}

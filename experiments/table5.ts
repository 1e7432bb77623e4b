/**
 * Table 5: SmallKV whose helper has a compressed cache of its own.
 *
 * @module
 */

import { claimOf } from "./claims.ts";
import type { Claim, Experiment, ExperimentResult, SummaryInput } from "./experiment.ts";
import {
  helperFigures,
  helperPoints,
  helperSummary,
  type NamedCut,
} from "./decoded/helper_cuts.ts";
import { meanDifference, meanRatio, percent } from "./decoded/policy_stats.ts";
import { policyUnits, variantPoints } from "./decoded/policy_runs.ts";
import { policyBatches } from "./decoded/policy_texts.ts";
import { defined } from "./similarity.ts";

/** Numbers of this experiment. */
export type Table5Key =
  | "share20"
  | "share40"
  | "share60"
  | "share80"
  | "lowHelperLoss"
  | "equalMemory"
  | "highHelperLoss";

const NAME = "table5";
const BUDGET = 0.2;
/** The table: accuracy on BBH by share of the helper's own cache, and with all of it. */
const PAPER = { 20: 0.2873, 40: 0.4416, 60: 0.4624, 80: 0.4642 } as const;
const PAPER_WHOLE = 0.4359;
const SHARES = [20, 40, 60, 80] as const;
const CUTS: readonly NamedCut[] = SHARES.map((share) => ({
  key: `helper${share}`,
  label: `SmallKV, helper at ${share} %`,
  cut: { helperBudget: { ratio: share / 100 } },
}));

/** Table 5. */
export const table5: Experiment<Table5Key> = {
  name: NAME,
  module: import.meta.url,
  title: "Compressed helper",
  question: "How much of the helper's own cache does SmallKV need?",
  source: "Table 5, A.3",
  version: 2,
  usesPolicies: true,
  inputs: ["large", "small", "gsm8k", "bbh", "wikitext2", "microworld"],
  claims: {
    share20: shareClaim(20),
    share40: shareClaim(40),
    share60: shareClaim(60),
    share80: shareClaim(80),
    lowHelperLoss: claimOf("C42", {
      kind: "trend",
      paper: null,
      statement: "agreement with the whole helper minus with a fifth of its cache",
      unit: "%",
      expected: { above: 0 },
    }),
    highHelperLoss: claimOf("C43", {
      kind: "trend",
      paper: null,
      statement: "agreement with two fifths of the helper's cache minus with all of it",
      unit: "%",
      expected: { above: -5 },
    }),
    equalMemory: claimOf("C44", {
      kind: "trend",
      paper: null,
      statement: "agreement of SmallKV at 20 % with two fifths of the helper minus H2O at 30 %",
      unit: "%",
      expected: { above: 0 },
      note: "The total of SmallKV depends on the pair; the table shows it.",
    }),
  },
  async plan(context) {
    const own = variantPoints(["smallkv", "h2o"], [BUDGET]);
    const rival = variantPoints(["h2o"], [0.3]);
    const points = [...own, ...helperPoints(CUTS, BUDGET), ...rival];
    return policyUnits(await policyBatches(context), points);
  },
  summarise,
};

function shareClaim(share: keyof typeof PAPER): Claim {
  return claimOf("C42", {
    kind: "absolute",
    paper: Math.round(1000 * PAPER[share] / PAPER_WHOLE) / 1000,
    statement: `score with ${share} % of the helper's cache over that with all of it`,
    note: "The paper's score is accuracy on BBH, ours agreement with the full cache.",
  });
}

function summarise(input: SummaryInput): ExperimentResult<Table5Key> {
  const { cells, tables } = helperSummary(input, { name: NAME, cuts: CUTS });
  const options = { seed: input.seed, label: NAME, measure: "same" } as const;
  const gain = (first: string, second: string) =>
    percent(meanDifference(cells(first), cells(second), options));
  const share = (part: keyof typeof PAPER) =>
    meanRatio(cells(`helper${part}/${BUDGET}`), cells(`smallkv/${BUDGET}`), options);
  return {
    values: defined({
      share20: share(20),
      share40: share(40),
      share60: share(60),
      share80: share(80),
      lowHelperLoss: gain(`smallkv/${BUDGET}`, `helper20/${BUDGET}`),
      highHelperLoss: gain(`helper40/${BUDGET}`, `smallkv/${BUDGET}`),
      equalMemory: gain(`helper40/${BUDGET}`, "h2o/0.3"),
    }),
    tables,
    figures: helperFigures({
      ...options,
      name: NAME,
      title: "SmallKV at 20 % with a compressed helper",
      xTitle: "helper's own cache (% of all its tokens)",
      points: [
        ...SHARES.map((part) => ({ share: part, cells: cells(`helper${part}/${BUDGET}`) })),
        { share: 100, cells: cells(`smallkv/${BUDGET}`) },
      ],
      rival: cells(`h2o/${BUDGET}`),
    }),
    notes: [
      "The helper drops tokens by H2O on its own attention; what it has dropped keeps the score it had.",
    ],
  };
}

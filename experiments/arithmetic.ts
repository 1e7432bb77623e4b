/**
 * Claims of the paper that follow from model shapes or from its own printed numbers.
 *
 * @module
 */

import {
  budgetShares,
  computeRatio,
  helperShareOfSaving,
  kvRatio,
  leadingComputeRatio,
  MODEL_SHAPES,
  realComputeRatio,
} from "./arithmetic_shapes.ts";
import { type ClaimDetail, claimOf } from "./claims.ts";
import type {
  Claim,
  Experiment,
  ExperimentResult,
  Measured,
  ResultTable,
  SummaryInput,
} from "./experiment.ts";
import { groupsAhead, leaderTable, printedAverageErrors, relativeToFull } from "./table1.ts";

const HELPER_NOTE = "Text and Table 5 disagree: 0.462 is the table's value at 60 %.";

/** Numbers of this experiment. */
export type ArithmeticKey =
  | "kv72Over7"
  | "helperShare"
  | "compute72Over7"
  | "shapes"
  | "kvMain"
  | "kvHalfOf14"
  | "kvSevenOf72"
  | "kvLlama"
  | "helperText"
  | "totalCache"
  | "combinedHelper"
  | "critical"
  | "recent"
  | "marginal"
  | "groupsAhead"
  | "averages"
  | "multiDocument"
  | "fewShot"
  | "code";

/** How each claim is compared. */
const CLAIMS: Readonly<Record<ArithmeticKey, Claim>> = {
  kv72Over7: arithmetic("C36", { paper: 5.71, tolerance: 0.005 }),
  helperShare: arithmetic("C37", { paper: 21.9, tolerance: 0.05 }),
  compute72Over7: arithmetic("C38", {
    paper: 14.9,
    tolerance: 0.05,
    note: "Holds for layers x hidden^2 alone; see the table for the full counts.",
  }),
  shapes: arithmetic("C39", {
    paper: 0,
    tolerance: 0,
    statement: "numbers of Table 3 that differ from the configs",
  }),
  kvMain: ratioClaim(4.67, "Qwen2-0.5B and 7B"),
  kvHalfOf14: ratioClaim(16, "Qwen2.5-0.5B and 14B"),
  kvSevenOf72: ratioClaim(5.71, "Qwen2-7B and 72B"),
  kvLlama: ratioClaim(4, "Llama-3.2-1B and 3.1-8B"),
  helperText: arithmetic("C43", { paper: 0.462, tolerance: 0.0005, note: HELPER_NOTE }),
  totalCache: arithmetic("C44", { paper: 28.6, tolerance: 0.05 }),
  combinedHelper: arithmetic("C47", { paper: 7.14, tolerance: 0.01 }),
  critical: splitClaim(10, "critical"),
  recent: splitClaim(5, "recent"),
  marginal: splitClaim(10, "marginal"),
  groupsAhead: arithmetic("C17", {
    paper: 15,
    tolerance: 0,
    note: "At 30 % PyramidInfer is ahead on code and H2O level, by the paper's own Table 1.",
  }),
  averages: arithmetic("C14", {
    paper: 0,
    tolerance: 0,
    statement: "group averages of Table 1 that are not the mean of their tasks",
    note: "H2O at 30 %, summarization: 21.35 is printed, its tasks average 21.80.",
  }),
  multiDocument: shortfallClaim("multi-document"),
  fewShot: shortfallClaim("few-shot"),
  code: shortfallClaim("code"),
};

/** Arithmetic of the paper. */
export const arithmeticClaims: Experiment = {
  name: "arithmetic",
  module: import.meta.url,
  title: "Numbers that follow from other numbers",
  question: "Do the paper's ratios and averages follow from its shapes and tables?",
  source: "Tables 1, 3, 4, 5, Appendix A",
  inputs: [],
  claims: CLAIMS,
  plan: () => Promise.resolve([]),
  summarise,
};

function arithmetic(id: string, detail: Omit<ClaimDetail, "kind">): Claim {
  return claimOf(id, { kind: "arithmetic", ...detail });
}

function ratioClaim(paper: number, pair: string): Claim {
  return arithmetic("C40", {
    paper,
    tolerance: 0.005,
    statement: `KV bytes, large over small: ${pair}`,
  });
}

function splitClaim(paper: number, tier: string): Claim {
  return arithmetic("C56", {
    paper,
    tolerance: 1e-9,
    statement: `${tier} tokens at a budget of 20 %`,
  });
}

/** The paper says "comparable" without a number, so ours is shown and not judged. */
function shortfallClaim(group: string): Claim {
  return claimOf("C18", {
    kind: "absolute",
    statement: `SmallKV at 5 % relative to the full cache by Table 1, ${group}`,
    unit: "%",
  });
}

function summarise(input: SummaryInput): ExperimentResult {
  const { qwen2Half, qwen2Seven, qwen2SeventyTwo, qwen25Half, qwen25Fourteen } = MODEL_SHAPES;
  const { llamaOne, llamaEight } = MODEL_SHAPES;
  const shares = budgetShares(0.2);
  const main = kvRatio(qwen2Seven, qwen2Half);
  const numbers: Record<ArithmeticKey, number> = {
    kv72Over7: kvRatio(qwen2SeventyTwo, qwen2Seven),
    helperShare: 100 * helperShareOfSaving(qwen2SeventyTwo, qwen2Seven, { budgetRatio: 0.2 }),
    compute72Over7: leadingComputeRatio(qwen2SeventyTwo, qwen2Seven),
    shapes: table3Differences(),
    kvMain: main,
    kvHalfOf14: kvRatio(qwen25Fourteen, qwen25Half),
    kvSevenOf72: kvRatio(qwen2SeventyTwo, qwen2Seven),
    kvLlama: kvRatio(llamaEight, llamaOne),
    helperText: 0.4416,
    totalCache: 100 * (0.2 + 0.4 / main),
    combinedHelper: 100 * 0.4 * (20 / 24) / main,
    critical: 100 * shares.critical,
    recent: 100 * shares.recent,
    marginal: 100 * shares.marginal,
    groupsAhead: groupsAhead(),
    averages: printedAverageErrors().length,
    multiDocument: relativeToFull("multi"),
    fewShot: relativeToFull("fewShot"),
    code: relativeToFull("code"),
  };
  const values = Object.fromEntries(
    Object.entries(numbers).map(([key, value]) => [key, exact(value)]),
  ) as Record<ArithmeticKey, Measured>;
  return {
    values,
    tables: [pairTable(input), computeTable(), leaderTable()],
    figures: [],
    notes: [
      "C38: the paper's own formula has a vocabulary and an attention term that lower the ratio; " +
      "with the layers' real widths it is 10.8.",
    ],
  };
}

function exact(value: number): Measured {
  return { value, low: value, high: value, n: 1 };
}

/** Table 3 as printed: layers, KV heads, query heads, hidden size, head size. */
function table3Differences(): number {
  const printed = { seven: [28, 4, 28, 3584, 128], seventyTwo: [80, 8, 64, 8192, 128] };
  const { qwen2Seven, qwen2SeventyTwo } = MODEL_SHAPES;
  const numbers = (model: typeof qwen2Seven) => [
    model.layers,
    model.kvHeads,
    model.queryHeads,
    model.hidden,
    model.headDim,
  ];
  const differ = (model: typeof qwen2Seven, row: readonly number[]) =>
    numbers(model).filter((value, index) => value !== row[index]).length;
  return differ(qwen2Seven, printed.seven) + differ(qwen2SeventyTwo, printed.seventyTwo);
}

/** What the paper's memory arithmetic gives for its pairs and for the pair of this run. */
function pairTable(input: SummaryInput): ResultTable {
  const { qwen2Half, qwen2Seven, qwen2SeventyTwo, qwen25Half, qwen25Fourteen } = MODEL_SHAPES;
  const { llamaOne, llamaEight } = MODEL_SHAPES;
  const pairs = [
    ["Qwen2-0.5B and 7B", qwen2Seven, qwen2Half],
    ["Qwen2.5-0.5B and 14B", qwen25Fourteen, qwen25Half],
    ["Qwen2-7B and 72B", qwen2SeventyTwo, qwen2Seven],
    ["Llama-3.2-1B and 3.1-8B", llamaEight, llamaOne],
    [`this run: ${input.small.name} and ${input.large.name}`, input.large, input.small],
  ] as const;
  return {
    name: "arithmetic_pairs",
    title: "Cache of the large model over that of the small one, and what the helper costs",
    columns: [
      "pair",
      "KV bytes, large over small",
      "helper's share of the saving at 20 % (%)",
      "total cache at 20 % with the helper at 40 % (%)",
      "helper at 40 %, stopped after 20 of 24 layers (%)",
    ],
    rows: pairs.map(([name, large, small]) => {
      const ratio = kvRatio(large, small);
      return [
        name,
        ratio,
        100 * helperShareOfSaving(large, small, { budgetRatio: 0.2 }),
        100 * (0.2 + 0.4 / ratio),
        100 * 0.4 * (20 / 24) / ratio,
      ];
    }),
  };
}

function computeTable(): ResultTable {
  const { qwen2Seven, qwen2SeventyTwo } = MODEL_SHAPES;
  const pair = [qwen2SeventyTwo, qwen2Seven] as const;
  return {
    name: "arithmetic_compute",
    title: "Compute of Qwen2-72B over Qwen2-7B, by what is counted",
    columns: ["counted", "ratio"],
    rows: [
      ["layers x hidden^2 (gives the printed 14.9)", leadingComputeRatio(...pair)],
      ["the paper's formula, one token", computeRatio(...pair, { tokens: 1 })],
      ["the paper's formula, 16,384 tokens", computeRatio(...pair, { tokens: 16384 })],
      ["real layer widths, one token", realComputeRatio(...pair)],
    ],
  };
}

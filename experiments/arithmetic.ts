/**
 * Claims of the paper that follow from model shapes or from its own printed numbers.
 *
 * @module
 */

import { mean } from "../core/stats.ts";
import { absoluteOf, type ClaimDetail, claimOf } from "./claims.ts";
import type { Claim, Experiment, ModelShape, ResultTable, SummaryInput } from "./experiment.ts";
import { GROUPS, TABLE1_ROWS, type TaskGroup } from "./graded/table1_printed.ts";
import { exactly, tableOf } from "./result.ts";

/** The numbers of a shape that the arithmetic needs. */
type Shape = Omit<ModelShape, "contextLength" | "fileTensorBytes">;

const QWEN2_HALF = shape([24, 14, 2, 64, 896, 4864, 151936]);
const QWEN2_SEVEN = shape([28, 28, 4, 128, 3584, 18944, 152064]);
const QWEN2_SEVENTY_TWO = shape([80, 64, 8, 128, 8192, 29568, 152064]);
const QWEN25_HALF = shape([24, 14, 2, 64, 896, 4864, 151936]);
const QWEN25_FOURTEEN = shape([48, 40, 8, 128, 5120, 13824, 152064]);
const LLAMA_ONE = shape([16, 32, 8, 64, 2048, 8192, 128256]);
const LLAMA_EIGHT = shape([32, 32, 8, 128, 4096, 14336, 128256]);

/** Public configurations. */
function shape(row: readonly [number, number, number, number, number, number, number]): Shape {
  const [layers, queryHeads, kvHeads, headDim, hidden, mlp, vocabulary] = row;
  return { layers, queryHeads, kvHeads, headDim, hidden, mlp, vocabulary };
}

/** Tokens by tier at a budget of 20 %, split 2 : 1 : 2 with marginal ones at half the cost. */
const TIER = 0.2 / (2 + 1 + 2 / 2);

/** Each claim and the number that follows. */
const FACTS: Readonly<Record<string, readonly [Claim, number]>> = {
  kv72Over7: [arithmetic("C36", 5.71, 0.005), kvRatio(QWEN2_SEVENTY_TWO, QWEN2_SEVEN)],
  helperShare: [
    arithmetic("C37", 21.9, 0.05),
    100 * smallModelShareOfSaving(QWEN2_SEVENTY_TWO, QWEN2_SEVEN),
  ],
  compute72Over7: [
    arithmetic("C38", 14.9, 0.05, {
      note: "Holds for layers x hidden^2 alone; see the table for the full counts.",
    }),
    leadingComputeRatio(QWEN2_SEVENTY_TWO, QWEN2_SEVEN),
  ],
  shapes: [
    arithmetic("C39", 0, 0, { statement: "numbers of Table 3 that differ from the configs" }),
    table3Differences(),
  ],
  kvMain: ratioFact(4.67, "Qwen2-0.5B and 7B", QWEN2_SEVEN, QWEN2_HALF),
  kvHalfOf14: ratioFact(16, "Qwen2.5-0.5B and 14B", QWEN25_FOURTEEN, QWEN25_HALF),
  kvSevenOf72: ratioFact(5.71, "Qwen2-7B and 72B", QWEN2_SEVENTY_TWO, QWEN2_SEVEN),
  kvLlama: ratioFact(4, "Llama-3.2-1B and 3.1-8B", LLAMA_EIGHT, LLAMA_ONE),
  helperText: [
    arithmetic("C43", 0.462, 0.0005, {
      note: "Text and Table 5 disagree: 0.462 is the table's value at 60 %.",
    }),
    0.4416,
  ],
  totalCache: [arithmetic("C44", 28.6, 0.05), totalCache(kvRatio(QWEN2_SEVEN, QWEN2_HALF))],
  combinedHelper: [
    arithmetic("C47", 7.14, 0.01),
    stoppedSmall(kvRatio(QWEN2_SEVEN, QWEN2_HALF)),
  ],
  critical: [splitClaim(10, "critical"), 100 * 2 * TIER],
  recent: [splitClaim(5, "recent"), 100 * TIER],
  marginal: [splitClaim(10, "marginal"), 100 * 2 * TIER],
  groupsAhead: [
    arithmetic("C17", 15, 0, {
      note: "At 30 % PyramidInfer is ahead on code and H2O level, by the paper's own Table 1.",
    }),
    leaders().filter(({ isAhead }) => isAhead).length,
  ],
  averages: [
    arithmetic("C14", 0, 0, {
      statement: "group averages of Table 1 that are not the mean of their tasks",
      note: "H2O at 30 %, summarization: 21.35 is printed, its tasks average 21.80.",
    }),
    TABLE1_ROWS.flatMap(({ tasks, averages }) =>
      GROUPS.filter((group) => Math.abs(mean(tasks[group]) - averages[group]) > 0.0101)
    ).length,
  ],
  multiDocument: shortfallFact("multi-document", "multi"),
  fewShot: shortfallFact("few-shot", "fewShot"),
  code: shortfallFact("code", "code"),
};

/** Arithmetic of the paper. */
export const arithmeticClaims: Experiment = {
  name: "arithmetic",
  module: import.meta.url,
  title: "Arithmetic on printed numbers",
  question: "Do the paper's ratios and averages follow from its shapes and tables?",
  source: "Tables 1, 3, 4, 5, Appendix A",
  inputs: [],
  claims: Object.fromEntries(Object.entries(FACTS).map(([key, [claim]]) => [key, claim])),
  plan: () => Promise.resolve([]),
  summarise: (input) => ({
    values: Object.fromEntries(
      Object.entries(FACTS).map(([key, [, value]]) => [key, exactly(value)]),
    ),
    tables: [pairTable(input), computeTable(), leaderTable()],
    figures: [],
    notes: [
      "C38: the paper's own formula has a vocabulary and an attention term that lower the ratio; " +
      "with the layers' real widths it is 10.8.",
    ],
  }),
};

function arithmetic(
  id: string,
  paper: number,
  tolerance: number,
  detail: Partial<ClaimDetail> = {},
): Claim {
  return claimOf(id, { kind: "arithmetic", paper, tolerance, ...detail });
}

function ratioFact(paper: number, pair: string, large: Shape, small: Shape) {
  const statement = `KV bytes, large over small: ${pair}`;
  return [arithmetic("C40", paper, 0.005, { statement }), kvRatio(large, small)] as const;
}

function splitClaim(paper: number, tier: string): Claim {
  return arithmetic("C56", paper, 1e-9, { statement: `${tier} tokens at a budget of 20 %` });
}

/** The paper says "comparable" without a number, so ours is shown and not judged. */
function shortfallFact(name: string, group: TaskGroup) {
  const statement = `SmallKV at 5 % relative to the full cache by Table 1, ${name}`;
  const small = TABLE1_ROWS.find(({ budget, method }) => budget === 0.05 && method === "SmallKV")!;
  const full = TABLE1_ROWS.find(({ method }) => method === "Full")!;
  const value = 100 * (small.averages[group] / full.averages[group] - 1);
  return [absoluteOf("C18", { statement, unit: "%" }), value] as const;
}

/** Cache of one model over that of another, per token (equation 7). */
function kvRatio(large: Shape, small: Shape): number {
  const size = ({ layers, kvHeads, headDim }: Shape) => layers * kvHeads * headDim;
  return size(large) / size(small);
}

/** Share of the cache saved at 20 % that the small model's own cache eats. */
function smallModelShareOfSaving(large: Shape, small: Shape): number {
  return 1 / kvRatio(large, small) / (1 - 0.2);
}

/** Percent of the large model's cache: at 20 % with the small model at 40 %. */
function totalCache(ratio: number): number {
  return 100 * (0.2 + 0.4 / ratio);
}

/** Percent of the large model's cache: a small model at 40 %, stopped after 20 of 24 layers. */
function stoppedSmall(ratio: number): number {
  return 100 * 0.4 * (20 / 24) / ratio;
}

/** Compute of one model over that of another, by its leading term layers hidden^2. */
function leadingComputeRatio(large: Shape, small: Shape): number {
  return large.layers * large.hidden ** 2 / (small.layers * small.hidden ** 2);
}

/** The same by the dense-transformer count of equation 8: layers (24 S h^2 + 4 S^2 h) + 2 S h V. */
function computeRatio(large: Shape, small: Shape, tokens: number): number {
  const count = ({ layers, hidden, vocabulary }: Shape) =>
    layers * (24 * tokens * hidden ** 2 + 4 * tokens ** 2 * hidden) +
    2 * tokens * hidden * vocabulary;
  return count(large) / count(small);
}

/** The same by the layers' multiplications with their real widths, for one token without vocabulary. */
function realComputeRatio(large: Shape, small: Shape): number {
  const count = ({ layers, hidden, queryHeads, kvHeads, headDim, mlp }: Shape) =>
    layers * (hidden * headDim * 2 * (queryHeads + kvHeads) + 3 * hidden * mlp);
  return count(large) / count(small);
}

/** Numbers that differ from Table 3 as printed: layers, KV heads, query heads, hidden size, head size. */
function table3Differences(): number {
  const differ = (model: Shape, row: readonly number[]) => {
    const { layers, kvHeads, queryHeads, hidden, headDim } = model;
    const numbers = [layers, kvHeads, queryHeads, hidden, headDim];
    return numbers.filter((value, index) => value !== row[index]).length;
  };
  return differ(QWEN2_SEVEN, [28, 4, 28, 3584, 128]) +
    differ(QWEN2_SEVENTY_TWO, [80, 8, 64, 8192, 128]);
}

/** Printed group averages: SmallKV and the better baseline. */
function leaders() {
  return [0.3, 0.1, 0.05].flatMap((budget) => {
    const rows = TABLE1_ROWS.filter((row) => row.budget === budget);
    return GROUPS.map((group) => {
      const small = rows.find(({ method }) => method === "SmallKV")!.averages[group];
      const others = rows.filter(({ method }) => method !== "SmallKV");
      const best = Math.max(...others.map(({ averages }) => averages[group]));
      return { budget, group, small, best, isAhead: small > best };
    });
  });
}

function leaderTable(): ResultTable {
  const rows = leaders().map(({ budget, group, small, best, isAhead }) => ({
    budget,
    group,
    "SmallKV": small,
    "best baseline": best,
    "SmallKV ahead": isAhead ? "yes" : "no",
  }));
  return tableOf("arithmetic_table1", "Printed group averages of Table 1", rows);
}

/** What the paper's memory arithmetic gives for its pairs and for the pair of this run. */
function pairTable({ large, small }: SummaryInput): ResultTable {
  const pairs: readonly (readonly [name: string, large: Shape, small: Shape])[] = [
    ["Qwen2-0.5B and 7B", QWEN2_SEVEN, QWEN2_HALF],
    ["Qwen2.5-0.5B and 14B", QWEN25_FOURTEEN, QWEN25_HALF],
    ["Qwen2-7B and 72B", QWEN2_SEVENTY_TWO, QWEN2_SEVEN],
    ["Llama-3.2-1B and 3.1-8B", LLAMA_EIGHT, LLAMA_ONE],
    [`this run: ${small.name} and ${large.name}`, large, small],
  ];
  const rows = pairs.map(([pair, one, other]) => {
    const ratio = kvRatio(one, other);
    return {
      pair,
      "KV bytes, large over small": ratio,
      "small model's share of the saving at 20 % (%)": 100 * smallModelShareOfSaving(one, other),
      "total cache at 20 % with the small model at 40 % (%)": totalCache(ratio),
      "small model at 40 %, stopped after 20 of 24 layers (%)": stoppedSmall(ratio),
    };
  });
  const title =
    "Cache of the large model over that of the small one, and what the small model costs";
  return tableOf("arithmetic_pairs", title, rows);
}

function computeTable(): ResultTable {
  const pair = [QWEN2_SEVENTY_TWO, QWEN2_SEVEN] as const;
  return {
    name: "arithmetic_compute",
    title: "Compute of Qwen2-72B over Qwen2-7B, by what is counted",
    columns: ["counted", "ratio"],
    rows: [
      ["layers x hidden^2 (gives the printed 14.9)", leadingComputeRatio(...pair)],
      ["the paper's formula, one token", computeRatio(...pair, 1)],
      ["the paper's formula, 16,384 tokens", computeRatio(...pair, 16384)],
      ["real layer widths, one token", realComputeRatio(...pair)],
    ],
  };
}

/**
 * Result records with every kind of figure, verdict and table.
 *
 * @module
 */

import type { Figure, Measured } from "../../experiments/experiment.ts";
import type { ClaimRecord, ResultRecord } from "../../experiments/runner/record.ts";
import type { Verdict } from "../../experiments/runner/verdict.ts";

const range = (count: number) => Array.from({ length: count }, (_, index) => index);

/** One figure of every kind. */
export const SAMPLE_FIGURES: readonly Figure[] = [
  {
    name: "shift",
    title: "Saliency shift: Jaccard of the salient sets under real drop and under the full cache",
    kind: "line",
    xTitle: "KV cache budget (% of tokens)",
    yTitle: "Jaccard similarity",
    series: ["own selection", "small-model-guided selection", "random sets"].map((
      label,
      offset,
    ) => ({
      label,
      x: range(9).map((index) => 10 * (index + 1)),
      y: range(9).map((index) => 0.5 + 0.05 * index - 0.1 * offset),
      low: range(9).map((index) => 0.45 + 0.05 * index - 0.1 * offset),
      high: range(9).map((index) => 0.56 + 0.05 * index - 0.1 * offset),
    })),
    paper: [
      { label: "paper, range of the curve", y: 0.55, yHigh: 0.77 },
      { label: "paper, at 20 %", x: 20, y: 0.6 },
      { label: "paper, average cosine 0.947" },
    ],
  },
  {
    name: "profile",
    title: "Accumulated attention of one matched pair of heads",
    kind: "line",
    isLog: true,
    xTitle: "position (tokens)",
    yTitle: "accumulated attention (rows)",
    series: ["large 5:3", "small 2:1"].map((label, offset) => ({
      label,
      x: range(200),
      y: range(200).map((index) => 20 / (1 + index) + 0.2 + 0.1 * offset),
      low: range(200).map((index) => 16 / (1 + index) + 0.16 + 0.1 * offset),
      high: range(200).map((index) => 24 / (1 + index) + 0.24 + 0.1 * offset),
    })),
    paper: [{ label: "four sink tokens", x: 4 }],
  },
  {
    name: "bins",
    title: "Attention mass by rank",
    kind: "bar",
    xTitle: "rank of the tokens",
    yTitle: "share of the mass (%)",
    series: ["large model", "small model"].map((label, offset) => ({
      label,
      x: ["0-5 %", "5-10 %", "10-15 %", "15-20 %"],
      y: [60, 9, 6.7, 5].map((value) => value - offset),
      low: [58, 8, 6, 4].map((value) => value - offset),
      high: [62, 10, 7, 6].map((value) => value - offset),
    })),
    paper: [{ label: "paper, second group", y: 8.6 }],
  },
  {
    name: "similarities",
    title: "Cosine of every head with its match",
    kind: "histogram",
    xTitle: "cosine",
    yTitle: "heads (count)",
    series: [{ label: "heads", x: range(20).map((i) => 0.5 + i / 40), y: range(20) }],
    paper: [{ label: "paper, mean 0.947", x: 0.947 }],
  },
  {
    name: "map",
    title: "Cosine of head and match, by context",
    kind: "heatmap",
    xTitle: "context",
    yTitle: "large head (layer × heads + head)",
    zTitle: "cosine",
    series: [{
      label: "cosine",
      x: range(200),
      y: range(336),
      z: range(336).map((row) => range(200).map((column) => Math.sin(row * column / 1000))),
    }],
    paper: [],
  },
  {
    name: "cloud",
    title: "Jaccard against cosine <b>of heads</b> & more",
    kind: "scatter",
    xTitle: "cosine",
    yTitle: "Jaccard",
    series: [{
      label: "heads",
      x: range(60).map((i) => i / 60),
      y: range(60).map((i) => (i % 9) / 9),
    }],
    paper: [{ label: "paper", x: 0.9, y: 0.5 }],
  },
];

const MEASURED: Measured = { value: 0.6123, low: 0.58, high: 0.6481, n: 12 };

function claim(id: string, verdict: Verdict, more: Partial<ClaimRecord> = {}): ClaimRecord {
  return {
    key: `${id}-${verdict}`,
    id,
    source: "Fig. 1b",
    statement: "Jaccard at a budget of 10 %, mean over heads and contexts",
    paper: 0.55,
    unit: "",
    kind: "absolute",
    tolerance: 0.05,
    verdict,
    ...(verdict === "not run" ? {} : { ours: MEASURED }),
    ...more,
  };
}

function record(name: string, more: Partial<ResultRecord>): ResultRecord {
  return {
    schema: 2,
    name,
    title: `Figure 1b: ${name}`,
    question: "How much do the salient tokens shift when a compression cannot be taken back?",
    source: "Fig. 1b, section 3.1",
    scale: "small",
    seed: 1,
    hash: "0".repeat(64),
    models: {
      large: { name: "qwen2.5-coder-1.5b-instruct-q4_k_m", hash: "a".repeat(64) },
      small: { name: "qwen2.5-coder-0.5b-instruct-q4_k_m", hash: "b".repeat(64) },
    },
    environment: {
      device: "webgpu",
      adapter: "llvmpipe (LLVM 15.0.6, 256 bits)",
      isSoftware: true,
      versions: { smallkv: "0.1.0", deno: "2.9.6", v8: "15.0.245.2" },
      system: "linux x86_64",
    },
    startedAt: "2026-01-02T03:04:05.000Z",
    seconds: 812.34,
    units: 24,
    command: `deno task reproduce ${name} --large models/large.gguf --small models/small.gguf`,
    claims: [],
    tables: [],
    figures: [],
    notes: [],
    ...more,
  };
}

/** Two results with everything a report can hold. */
export const SAMPLE_RECORDS: readonly ResultRecord[] = [
  record("saliency_shift", {
    claims: [
      claim("C01", "reproduced"),
      claim("C02", "differs", {
        paper: 78.22,
        unit: "%",
        note: "Other models; see the note below.",
      }),
      claim("C10", "not comparable at this scale", { paper: "falls with the budget" }),
    ],
    tables: [{
      name: "budgets",
      title: "Jaccard by budget",
      columns: ["budget (%)", "own", "guided", "random"],
      rows: range(9).map((index) => [10 * (index + 1), 0.5 + index / 20, 0.4 + index / 20, null]),
    }],
    figures: SAMPLE_FIGURES.slice(0, 3),
    notes: [
      "No recent window; selection per query head.",
      "Every text starts a new context.",
    ],
  }),
  record("head_similarity", {
    seconds: 2.5,
    claims: [
      claim("C03", "not run"),
      claim("C04", "reproduced", { ours: { ...MEASURED, value: 7.1 } }),
    ],
    tables: [{
      name: "heads",
      title: "Every head <and> its match",
      columns: ["head", "match", "Jaccard", "cosine"],
      rows: range(40).map((head) => [`${head}`, `${head % 7}`, head / 40, 1 - head / 80]),
    }],
    figures: SAMPLE_FIGURES.slice(3),
  }),
];

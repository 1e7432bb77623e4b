/**
 * What `generate` prints about a run: statistics, comparisons, and what each head saw at chosen steps.
 *
 * @module
 */

import { counted } from "../core/counted.ts";
import { type StepQuality, summarizeQuality } from "../analysis/quality.ts";
import { compareTexts, type TextQuality } from "../analysis/quality_text.ts";
import type { GenerationStatistics, ModelBytes } from "../decoding/text/statistics.ts";
import type { SmallModelCut } from "../decoding/scoring/small_model.ts";
import type { CacheBudget } from "../cache/budget.ts";
import type { ResolvedPolicy } from "../cache/policy_options.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import type { Selection } from "../cache/policy.ts";
import { headGroups } from "../decoding/selection/head_groups.ts";
import {
  keepsAll,
  recentCounts,
  selectionTiers,
  type SequencePlace,
  type TierSetting,
  type TierSizes,
} from "../decoding/selection/tiers.ts";
import { bytesText } from "./bytes_text.ts";
import type { SamplingOptions } from "../decoding/text/sampling.ts";
import type { GenerationStep } from "../decoding/text/loop.ts";
import type { GenerationSetup } from "../decoding/text/setup.ts";
import type { SpeculationStatistics } from "../decoding/engine/speculative_types.ts";

/** Outcome of one policy. */
export interface PolicyRun {
  /** Name of the policy. */
  readonly policy: string;
  /** New token ids. */
  readonly tokens: readonly number[];
  /** New text. */
  readonly text: string;
  /** Times, bytes, tiers. */
  readonly stats: GenerationStatistics;
  /** Selections of the steps asked for. */
  readonly trace: readonly TraceEntry[];
  /** With forced tokens: each step compared with the full cache. */
  readonly quality?: readonly StepQuality[];
  /** With forced tokens: the token that the policy would have chosen after each step. */
  readonly chosen?: readonly number[];
}

/** What the tiers of a selection cost; a value without its key counts half. */
function heldShare({ critical, recent, marginal, none }: TierSizes): number {
  return (critical + recent + marginal / 2) / (critical + recent + marginal + none);
}

/**
 * Formats statistics as text.
 *
 * @returns Lines, the last one ended.
 */
export function statisticsText(stats: GenerationStatistics): string {
  const { memory: { large, small, hostBytes }, tiers, speculation } = stats;
  const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
  const rows = [
    ["prompt and new tokens", `${sum(stats.promptTokens)} + ${sum(stats.newTokens)}`],
    ["time to first token", secondsText(stats.ttftMs)],
    [
      "time per new token",
      `${secondsText(stats.tpotMs)}, median ` +
      (speculation
        ? `block ${secondsText(speculation.blockMedianMs)}`
        : `step ${secondsText(stats.stepMedianMs)}`),
    ],
    ["prompt tokens per second", stats.promptTokensPerSecond.toFixed(1)],
    ["new tokens per second", `${stats.tokensPerSecond.toFixed(1)}, after the first`],
    ["large model", modelText(large)],
    ...(small ? [["small model", modelText(small)]] : []),
    ["host store", bytesText(hostBytes)],
    ...(tiers
      ? [[
        "tokens per tier",
        `critical ${tiers.critical.toFixed(1)}, recent ${tiers.recent.toFixed(1)}, ` +
        `marginal ${tiers.marginal.toFixed(1)}, none ${tiers.none.toFixed(1)}`,
      ], ["share of full cache", `${(100 * heldShare(tiers)).toFixed(1)} %, mean over layers`]]
      : []),
    ...(stats.churn !== undefined
      ? [
        ["migrated per step", bytesText(stats.migratedBytesPerStep!)],
        ["churn per step", `${(100 * stats.churn).toFixed(1)} % of the selected tokens`],
      ]
      : []),
  ];
  const all = [...rows, ...(speculation ? speculationRows(speculation) : [])];
  return all.map(([name, value]) => `${name!.padEnd(26)}${value}\n`).join("");
}

/** Seconds with three digits that count. */
function secondsText(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  return `${seconds < 100 ? seconds.toPrecision(3) : seconds.toFixed(0)} s`;
}

function speculationRows(speculation: SpeculationStatistics): string[][] {
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
  const { drafted, accepted, acceptance, blocks, tokensPerBlock } = speculation;
  const { draftShare, planShare, verifyShare } = speculation;
  return [
    [
      "accepted drafts",
      `${accepted} of ${drafted}` +
      (drafted > 0 ? `, by place ${acceptance.map(percent).join(", ")}` : ""),
    ],
    [
      "passes",
      `large ${blocks}, ${tokensPerBlock.toFixed(2)} new tokens each; ` +
      `small ${speculation.smallForwards}`,
    ],
    [
      "time of a block",
      `small model ${percent(draftShare)}, plan ${percent(planShare)}, ` +
      `large model ${percent(verifyShare)}`,
    ],
  ];
}

/**
 * Makes the object that other programs read.
 *
 * @param run Outcome of a policy.
 * @param setting What it ran on.
 * @returns Tokens, text, statistics with the setting, trace; with forced tokens also kl and chosen, one per step.
 */
export function runObject(
  run: PolicyRun,
  setting: {
    readonly models: ModelPair;
    readonly policy: ResolvedPolicy;
    readonly budget: CacheBudget;
    readonly store: string;
    readonly cut: SmallModelCut;
    readonly sampling?: SamplingOptions;
  },
): Record<string, unknown> {
  const { tokens, text, stats, trace, quality, chosen } = run;
  const { models: { large, small }, budget, store, policy, cut, sampling } = setting;
  const { description, backend } = large.device.info;
  return {
    tokens,
    text,
    stats: {
      ...stats,
      large: large.name,
      ...(small && { small: small.name }),
      device: `${backend}: ${description}`,
      policy,
      budget,
      ...(policy.saliencySource === "small" && cut),
      store,
      ...(sampling && { sampling }),
    },
    trace,
    ...(quality && { kl: quality.map(({ kl }) => kl), chosen }),
  };
}

/**
 * Writes how far a teacher-forced run diverges.
 *
 * @returns Lines, the last one ended.
 */
export function qualityText(quality: readonly StepQuality[]): string {
  const { steps, meanKl, medianKl, sameChoiceShare } = summarizeQuality(quality);
  return `${counted(steps, "teacher-forced step")} against the full cache: mean KL ${
    meanKl.toFixed(4)
  } nats, ` +
    `median ${medianKl.toFixed(4)}, same choice ${(100 * sameChoiceShare).toFixed(1)} %\n`;
}

/**
 * Compares each policy's text with that of the full cache.
 *
 * @param runs The runs, one of them of the policy `full`.
 * @param prompt Text of the prompt.
 * @returns One entry per run, in order.
 */
export function compareRuns(runs: readonly PolicyRun[], prompt: string): readonly TextQuality[] {
  const full = runs.find(({ policy }) => policy === "full")!;
  return runs.map((run) => compareTexts(full, run, { prompt }));
}

/**
 * Formats a comparison as text.
 *
 * @param quality Each compared with the full cache.
 * @param tokenText Text of some tokens.
 * @returns Lines, the last one ended.
 */
export function comparisonText(
  runs: readonly PolicyRun[],
  quality: readonly TextQuality[],
  tokenText: (tokens: readonly number[]) => string,
): string {
  const full = runs.find(({ policy }) => policy === "full")!;
  const header = [
    "policy",
    "departs",
    "agreement",
    "ROUGE-L",
    "repeated",
    "new words",
    "cache",
    "share",
  ];
  const rows = runs.map((run, index) => {
    const { firstDivergence: place, ...measures } = quality[index]!;
    return [
      run.policy,
      place === undefined ? "never" : `at ${place}`,
      measures.tokenAgreement.toFixed(3),
      measures.rougeL.toFixed(3),
      measures.repeatedShare.toFixed(3),
      String(measures.newWords.length),
      bytesText(run.stats.memory.large.cacheBytesIdeal),
      `${(100 * bytesPerToken(run.stats) / bytesPerToken(full.stats)).toFixed(1)} %`,
    ];
  });
  const departures = runs.flatMap((run, index) => {
    const place = quality[index]!.firstDivergence;
    if (place === undefined) return [];
    const [wanted, written] = [full, run].map(({ tokens }) =>
      place < tokens.length
        ? JSON.stringify(tokenText(tokens.slice(0, place + 1)).slice(-24))
        : "its end"
    );
    return `${run.policy}: new token ${place} makes ${written}, with the full cache ${wanted}\n`;
  });
  return table([header, ...rows]) + departures.join("");
}

/** Bytes that are kept of the large model's cache, per token of the text. */
function bytesPerToken({ memory, promptTokens, steps }: GenerationStatistics): number {
  return memory.large.cacheBytesIdeal / (promptTokens[0]! + steps);
}

/**
 * Says that a policy has not dropped anything, where that could surprise.
 *
 * @param setting Policy, budget, large model.
 * @param place Tokens of the text so far, and of its prompt.
 * @returns A line; nothing if tokens were dropped, or if all of them were asked for.
 */
export function uncompressedText(setting: TierSetting, place: SequencePlace): string {
  const { policy, budget } = setting;
  const { tokens } = place;
  const isWhole = "ratio" in budget && budget.ratio === 1;
  if (policy.name === "full" || isWhole || !keepsAll(setting, place)) return "";
  const reason = tokens < policy.minimumTokens
    ? `${policy.name} keeps every token below ${policy.minimumTokens} (--minimum-tokens), and there are ${tokens}`
    : `the budget of ${policy.name} covers the whole text of ${counted(tokens, "token")}`;
  return `Nothing was compressed: ${reason}\n`;
}

function modelText({ weightBytes, cacheBytes, cacheBytesIdeal }: ModelBytes): string {
  return `weights ${bytesText(weightBytes)}, cache ${bytesText(cacheBytes)}, ` +
    `by its selections ${bytesText(cacheBytesIdeal)}`;
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) => {
    const cells = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)
    );
    return `${cells.join("  ")}\n`;
  }).join("");
}

/** Token positions of a KV head at a step, ascending. */
export interface TraceEntry {
  /** Decode step; the first is 1 and sees prompt + 1 tokens. */
  readonly step: number;
  /** Layer, from 0. */
  readonly layer: number;
  /** KV head, from 0. */
  readonly kvHead: number;
  /** Query head of the layer, from 0; only where each selects alone. */
  readonly queryHead?: number;
  /** Kept with key and value for their rank; sinks too. */
  readonly critical: readonly number[];
  /** Kept with key and value because they are newest. */
  readonly recent: readonly number[];
  /** Kept with value only. */
  readonly marginal: readonly number[];
  /** What remains after the step, where the policy drops tokens then. */
  readonly after?: readonly number[];
}

/**
 * Lists what every KV head saw at a step.
 *
 * @param step The step, of one sequence.
 * @param setup Policy, budget, model.
 * @returns Entries in order of layer and head.
 */
export function traceEntries(
  step: GenerationStep,
  setup: Pick<GenerationSetup, "policy" | "budget" | "pair"> & { readonly promptTokens: number },
): TraceEntry[] {
  const { config } = setup.pair.large;
  const units = headGroups(config, setup.policy.granularity);
  const tokens = step.tokens[0]!;
  const recent = recentCounts({ ...setup, config }, { tokens, promptTokens: setup.promptTokens });
  const heads = Math.max(units.perLayer, config.kvHeads);
  const entries: TraceEntry[] = [];
  for (let layer = 0; layer < config.layers; layer++) {
    for (let head = 0; head < heads; head++) {
      const unit = layer * units.perLayer + Math.floor(head * units.perLayer / heads);
      const { critical, recent: newest, marginal } = selectionTiers(
        step.selections[0]![unit]!,
        recent[layer]!,
      );
      const after: Selection | undefined = step.after?.[0]?.[unit];
      entries.push({
        step: step.step,
        layer,
        kvHead: Math.floor(head * config.kvHeads / heads),
        ...(heads > config.kvHeads && { queryHead: head }),
        critical: [...critical],
        recent: [...newest],
        marginal: [...marginal],
        ...(after && { after: [...after.full] }),
      });
    }
  }
  return entries;
}

/**
 * How many tokens of each tier a budget pays for: integer arithmetic in half-entries, so that tokens whose key is
 * dropped cost exactly half.
 *
 * @see docs/method.md, "Budgets and tiers": critical : recent : marginal are 2 : 1 : 2 from 10 % to 80 %
 * @module
 */

import { checkInteger, RequirementError } from "../core/check.ts";
import type { CountOptions, OptionName } from "./options.ts";

/** Tokens of each tier that one selection keeps. */
export interface TierCounts {
  /** First tokens of the sequence, always with key and value. */
  readonly sink: number;
  /** Newest tokens, always with key and value. */
  readonly recent: number;
  /** Most salient of the others, with key and value. */
  readonly critical: number;
  /** Next most salient, value only; each costs half a token. */
  readonly marginal: number;
}

/** A share of the full cache in (0, 1], or of a given number of tokens (`of`); or a number of tokens. */
export type CacheBudget = { readonly ratio: number; readonly of?: number } | {
  readonly tokens: number;
};

/** Newest tokens that each layer sees, [layers]; undefined where it sees all. */
export type LayerWindows = readonly (number | undefined)[];

/** A layer, and what is the same for all of them. */
export interface LayerPlace extends Pick<CountOptions, "minimumTokens"> {
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Layer, from 0. */
  readonly layer: number;
  /** Layers of the model. */
  readonly layers: number;
}

/** What the counts of a selection may depend on. */
export interface CountRequest extends CountOptions, LayerPlace {
  /** Tokens of the sequence so far, the newest one included. */
  readonly tokens: number;
  /** Elements of a head; needed where a budget also pays for an index of keys. */
  readonly headDim?: number;
}

/** Options of policies that split their budget as SmallKV does. */
export const SPLIT_OPTIONS: readonly OptionName[] = [
  "base",
  "coverage",
  "interval",
  "marginal",
  "minimumTokens",
  "sink",
  "split",
];

/** Share of the tokens that a small budget keeps as critical ones before any others. */
const CRITICAL_DEMAND = 0.05;
/** Least number of recent tokens of a small budget. */
const RECENT_FLOOR = 4;

/**
 * Throws unless a budget is valid.
 *
 * @param budget Share of the full cache, or tokens.
 * @returns The budget.
 * @throws {RequirementError} If a share is outside (0, 1] or of no tokens, a count is not a positive integer, or both are given.
 */
export function checkBudget(budget: CacheBudget): CacheBudget {
  const action = "set a cache budget";
  const given = budget as Partial<Record<"ratio" | "tokens", number>> | null;
  if (typeof given !== "object" || (given?.ratio === undefined) === (given?.tokens === undefined)) {
    const requirement = "it must have a ratio or tokens, and not both";
    throw new RequirementError({ action, requirement, current: JSON.stringify(budget) });
  }
  const { of } = budget as { readonly of?: number };
  if (of !== undefined && !("ratio" in budget && of >= 1 && of < Infinity)) {
    const requirement = "of must be the tokens that a ratio is of, at least 1";
    throw new RequirementError({ action, requirement, current: JSON.stringify(budget) });
  }
  if ("tokens" in budget) checkInteger(action, "tokens", { value: budget.tokens, min: 1 });
  else if (!(budget.ratio > 0 && budget.ratio <= 1)) {
    const requirement = "ratio must be above 0 and at most 1";
    throw new RequirementError({ action, requirement, current: budget.ratio });
  }
  return budget;
}

/**
 * Reads a budget as command lines write it: a share as `0.2` or `20%`, a number of tokens as `256` or `256t`. `1` is the
 * whole cache.
 *
 * @throws {RequirementError} If it is neither, or would leave nothing.
 */
export function parseBudget(text: string): CacheBudget {
  const [, digits = "", suffix] =
    /^((?:\d+(?:\.\d+)?|\.\d+)(?:e-?\d+)?)([t%]?)$/i.exec(text.trim()) ?? [];
  const value = digits === "" ? NaN : Number(digits);
  const isTokens = suffix === "t" || suffix === "" && Number.isSafeInteger(value) && value !== 1;
  try {
    if (isTokens) return checkBudget({ tokens: value });
    return checkBudget({ ratio: suffix === "%" ? value / 100 : value });
  } catch (error) {
    if (!(error instanceof RequirementError)) throw error;
    throw new RequirementError({
      action: "set a cache budget",
      requirement: "a budget must be a share above 0 and at most 1, as 0.2 or 20%, " +
        "or a number of tokens, as 256 or 256t",
      current: text,
    });
  }
}

/** Writes a budget as `parseBudget` reads it: `0.05`, or `256t`. */
export function budgetText(budget: CacheBudget): string {
  return "ratio" in budget ? String(budget.ratio) : `${budget.tokens}t`;
}

/**
 * Half-entries that a budget pays for.
 *
 * @param budget Share of the full cache, or tokens.
 * @param tokens Tokens of the sequence.
 * @returns floor(2 * ratio * tokens), free of binary rounding.
 * @throws {RequirementError} If the budget is not valid.
 */
export function halfEntries(budget: CacheBudget, tokens: number): number {
  checkBudget(budget);
  if ("tokens" in budget) return 2 * Math.min(budget.tokens, tokens);
  const { ratio, of = tokens } = budget;
  return Math.min(2 * tokens, Math.floor(2 * ratio * of + 1e-9));
}

/**
 * Whole entries that a budget pays for, for policies without marginal tokens.
 *
 * @param budget Share of the full cache, or tokens.
 * @param tokens Tokens of the sequence.
 * @returns floor(ratio * tokens), at least 1.
 */
export function wholeEntries(budget: CacheBudget, tokens: number): number {
  return Math.max(1, Math.floor(halfEntries(budget, tokens) / 2));
}

/**
 * Share of the tokens that a budget pays for.
 *
 * @param budget Share of the full cache, or tokens.
 * @param tokens Tokens of the sequence.
 * @returns A number in (0, 1].
 */
export function budgetShare(budget: CacheBudget, tokens: number): number {
  checkBudget(budget);
  const entries = "tokens" in budget ? budget.tokens : budget.ratio * (budget.of ?? tokens);
  return Math.min(1, entries / tokens);
}

/**
 * Splits a budget into critical, recent and marginal tokens.
 *
 * @param budget Share of the full cache, or tokens.
 * @param tokens Tokens of the sequence, the newest one included.
 * @param options Exceptions and ablations.
 * @returns Counts with 2 * (critical + recent) + marginal at most the budget's half-entries; the newest token is
 *   always kept.
 */
export function splitBudget(
  budget: CacheBudget,
  tokens: number,
  options: CountOptions = {},
): TierCounts {
  const half = halfEntries(budget, tokens);
  const counts = tierSplit(half, tokens, options);
  const kept = options.marginal === false
    ? withoutMarginal(counts)
    : options.marginal === "dropped"
    ? { ...counts, marginal: 0 }
    : counts;
  const sink = Math.min(options.sink ?? 0, kept.critical);
  return { ...kept, sink, critical: kept.critical - sink };
}

type Split = Omit<TierCounts, "sink">;

function tierSplit(half: number, tokens: number, { split, coverage }: CountOptions): Split {
  if (half < 4) return { critical: 0, recent: 1, marginal: 0 };
  if (half >= 2 * tokens) return everything(tokens);
  const counts = split === "plain" ? ratioSplit(half) : demandSplit(half, tokens);
  const { critical, recent, marginal } = counts;
  const excess = critical + recent + marginal - tokens;
  if (excess <= 0) return withRecent(counts);
  return withRecent(
    coverage === "overlap" ? { ...counts, marginal: marginal - excess } : covered(half, tokens),
  );
}

function demandSplit(half: number, tokens: number): Split {
  const plain = ratioSplit(half);
  const demand = Math.ceil(CRITICAL_DEMAND * tokens - 1e-9);
  if (plain.critical >= demand) return plain;
  const floor = Math.min(RECENT_FLOOR, Math.max(1, Math.floor(half / 4)));
  const critical = Math.min(demand, Math.floor(half / 2) - floor);
  const rest = half - 2 * critical;
  const recent = Math.max(floor, Math.floor(rest / 4));
  return { critical, recent, marginal: rest - 2 * recent };
}

function everything(tokens: number): Split {
  const critical = Math.round(2 * tokens / 3);
  return { critical, recent: tokens - critical, marginal: 0 };
}

function ratioSplit(half: number): Split {
  const critical = Math.floor(half / 4);
  const recent = Math.floor(half / 8);
  return { critical, recent, marginal: half - 2 * critical - 2 * recent };
}

/** Puts every token in some tier at the cost of the budget (D-19), with fewer marginal ones. */
function covered(half: number, tokens: number): Split {
  const critical = Math.round(2 * (half - tokens) / 3);
  return { critical, recent: half - tokens - critical, marginal: 2 * tokens - half };
}

/** A query always sees itself (D-20). */
function withRecent({ critical, recent, marginal }: Split): Split {
  if (recent > 0) return { critical, recent, marginal };
  return marginal >= 2
    ? { critical, recent: 1, marginal: marginal - 2 }
    : { critical: critical - 1, recent: 1, marginal };
}

function withoutMarginal({ critical, recent, marginal }: Split): Split {
  const freed = Math.floor(marginal / 2);
  const toCritical = Math.round(2 * freed / 3);
  return { critical: critical + toCritical, recent: recent + freed - toCritical, marginal: 0 };
}

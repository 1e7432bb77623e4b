/**
 * Everything the paper claims, number by number, whether an experiment here measures it or not.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import type { DeclaredComparison } from "../evaluation/comparisons.ts";
import type { Claim, Experiment, PaperPair } from "./experiment.ts";

/** What the paper says. */
export interface PaperClaim {
  /** "C01" to "C64". */
  readonly id: string;
  /** Figure, table or section. */
  readonly source: string;
  /** What is claimed. */
  readonly statement: string;
  /** The value, in words where the paper gives several or none. */
  readonly paper: number | string;
  /** Unit of the value; "" for plain ratios. */
  readonly unit: string;
}

/** Row of the list: id, source, statement, value, unit. */
type Row = readonly [string, string, string, number | string, string?];

const ROWS: readonly Row[] = [
  ["C01", "Fig. 1b", "salient sets after a real drop against the full view", "0.55 to 0.77"],
  ["C02", "Fig. 1c", "mean cosine of matched heads", 0.947],
  [
    "C03",
    "Fig. 1d",
    "small-model-guided selection better on six tasks at 10 %",
    "yes, figure only",
  ],
  ["C04", "Fig. 2", "attention of the top 5 % over that of the next 5 %", 7],
  ["C05", "Fig. 2", "attention of ranks 5 to 10 % over that of 10 to 15 %", 1.34],
  ["C06", "Fig. 2", "H2O accuracy on BBH at 15 % and at 5 %", "0.482, 0.148"],
  ["C07", "Fig. 5", "score of the full cache", 79.4, "%"],
  ["C08", "Fig. 5", "score of H2O at 5 %", 36.7, "%"],
  ["C09", "Fig. 5", "score of PyramidInfer at 5 %", 47, "%"],
  ["C10", "Fig. 5", "score of SmallKV at 5 %", 73, "%"],
  ["C11", "Table 1", "SmallKV at 30 %, five groups", "37.39, 40.66, 22.08, 68.58, 56.83"],
  ["C12", "Table 1", "SmallKV at 10 %, five groups", "37.20, 40.84, 21.55, 68.39, 56.96"],
  ["C13", "Table 1", "SmallKV at 5 %, five groups", "33.14, 37.54, 20.17, 68.34, 53.54"],
  ["C14", "Table 1", "H2O at 30, 10 and 5 %, five groups", "as printed"],
  ["C15", "Table 1", "PyramidInfer at 30, 10 and 5 %, five groups", "as printed"],
  ["C16", "Table 1", "full cache, five groups", "39.04, 40.78, 22.31, 70.07, 56.95"],
  ["C17", "Table 1", "groups and budgets in which SmallKV is ahead", 15, "of 15"],
  ["C18", "Table 1", "SmallKV at 5 % against the full cache in three groups", "comparable"],
  ["C19", "Table 2", "throughput, eager, 64 x (2048 + 256)", 62.27, "tokens/s"],
  ["C20", "Table 2", "throughput, flash, 64 x (2048 + 256)", 188.23, "tokens/s"],
  ["C21", "Table 2", "throughput, H2O, 64 x (2048 + 256)", 76.32, "tokens/s"],
  ["C22", "Table 2", "throughput, SmallKV, 64 x (2048 + 256)", 195.5, "tokens/s"],
  ["C23", "Table 2", "throughput, eager, 4 x (16384 + 512)", 474.21, "tokens/s"],
  ["C24", "Table 2", "throughput, flash, 4 x (16384 + 512)", 990.39, "tokens/s"],
  ["C25", "Table 2", "throughput, H2O, 4 x (16384 + 512)", 689.07, "tokens/s"],
  ["C26", "Table 2", "throughput, SmallKV, 4 x (16384 + 512)", 1203.42, "tokens/s"],
  ["C27", "abstract", "throughput of SmallKV over H2O", "1.75 to 2.56"],
  ["C28", "Table 2", "time per token of compressed over full cache", "below 1"],
  ["C29", "Fig. 6", "without marginal tokens the score drops at 10 to 40 %", "yes, figure only"],
  ["C30", "Fig. 6", "with and without marginal tokens meet below 10 %", "yes, figure only"],
  ["C31", "Fig. 6", "without both compensations it is worse still", "yes, figure only"],
  ["C32", "Fig. 7", "gain of a 1.5B small model over 0.5B, mean over budgets", 4.9, "%"],
  ["C33", "Fig. 7", "gain of a 3B small model over 0.5B, mean over budgets", 6.8, "%"],
  ["C34", "Fig. 7", "gain of a 7B small model over 0.5B, mean over budgets", 8.5, "%"],
  ["C35", "Fig. 7", "the same gains at 5 %", "30.2, 63.8, 84.4", "%"],
  ["C36", "A.1", "KV bytes of 72B over 7B", 5.71],
  ["C37", "A.1", "small model's share of the saving at 20 %", 21.9, "%"],
  ["C38", "A.2", "compute of 72B over 7B", 14.9],
  ["C39", "Table 3", "shapes of Qwen2-7B and Qwen2-72B", "as printed"],
  ["C40", "Table 4", "KV bytes of the large over the small model", "4.67, 16.0, 5.71, 4.0"],
  ["C41", "Table 4", "latency of the large over the small model", "3.57, 6.52, 4.47, 3.19"],
  ["C42", "Table 5", "BBH with a compressed small model", ".2873, .4416, .4624, .4642, .4359"],
  ["C43", "text on Table 5", "BBH with the small model at 40 %", 0.462],
  ["C44", "A.3", "total cache of SmallKV at 20 % with the small model at 40 %", 28.6, "%"],
  ["C45", "Table 6", "BBH with an early-stopped small model", ".436, .436, .390, .359, .335"],
  ["C46", "Table 6", "stopping at layer 20 loses nothing, at 16 still beats H2O", "yes"],
  ["C47", "A.3", "small model's cache after both savings, of the large model's", 7.14, "%"],
  ["C48", "Fig. 8", "share of head cosines above 0.9", 78.22, "%"],
  ["C49", "Fig. 8", "share of head cosines above 0.8", 96.21, "%"],
  ["C50", "Fig. 8", "share of head cosines below 0.5", 0.02, "%"],
  ["C51", "Fig. 9", "cosine of summed attention, one family", 0.9622],
  ["C52", "Fig. 9", "cosine of summed attention, two families", 0.6917],
  ["C53", "Table 7", "similarity by benchmark and pair", ".85, .85, .98, .83, .83, .83"],
  ["C54", "Table 8", "similarity on BBH by pair", ".85, .81, .86, .56, .98"],
  ["C55", "Table 9", "similarity after turns 1 to 5", ".822, .812, .799, .796, .782"],
  ["C56", "text", "critical, recent and marginal shares at 20 %", "10, 5, 10", "%"],
  ["C57", "text", "matching on 100 to 200 tokens is stable", "asserted"],
  ["C58", "Table 7", "the first tokens raise the similarity to about 0.99", 0.99],
  ["C59", "Fig. 10", "at 10 % only SmallKV answers like the full cache", "one example"],
  ["C60", "text", "5 % of the tokens hold nearly all attention (cited)", "95 % sparse"],
  ["C61", "A.3", "speculative decoding pays for the small model", "3 to 5 x (cited)"],
  ["C62", "text", "migration hides behind the forward pass", "asserted"],
  ["C63", "set-up", "the 72B model runs in INT4", "set-up"],
  ["C64", "Fig. 5", "SmallKV ahead on nearly all pairs and benchmarks", "figure only"],
];

/** All claims, in order. */
export const PAPER_CLAIMS: readonly PaperClaim[] = ROWS.map((
  [id, source, statement, paper, unit = ""],
) => ({ id, source, statement, paper, unit }));

/** Qwen2-7B with Qwen2-0.5B, the pair of Fig. 1c, 8 and 9. */
export const MAIN_PAIR: readonly PaperPair[] = [{ large: "qwen2-7b", small: "qwen2-0.5b" }];

/**
 * Comparisons that an evaluation makes at every budget of every task, declared before it runs; Holm's correction is over
 * all of them. SmallKV against the baselines (C64), a random choice, the full cache and its own small model; then two
 * changes of it.
 */
export const POLICY_COMPARISONS: readonly DeclaredComparison[] = [
  { first: "smallkv", second: "h2o", expected: "above" },
  { first: "smallkv", second: "pyramid_budget", expected: "above" },
  { first: "smallkv", second: "random", expected: "above" },
  { first: "smallkv", second: "full", expected: "below" },
  { first: "smallkv", second: "small model alone", expected: "above" },
  { first: "smallkv:normalize=rows", second: "smallkv", expected: "above" },
  { first: "smallkv_query_aware", second: "smallkv", expected: "above" },
];

/**
 * What this project claims beyond the paper, written down before it is measured; no value of the paper belongs to them. The
 * last ones hold of whichever policy is chosen on prompts that no result uses.
 */
const OWN_ROWS: readonly (readonly [string, string, string])[] = [
  ["O01", "divergence of 2-bit key sketches with the rest as one token, 5 % of entries", "nats"],
  ["O02", "steps with the full cache's choice under the same", "%"],
  ["O03", "bytes of the same with its sketches, of the full cache's", "%"],
  ["O04", "prompts on which the same diverges less than H2O at 40 %", "%"],
  ["O05", "prompts on which the same diverges less than matched rows at equal entries", "%"],
  ["O06", "divergence of a fitted map of small heads over that of matched rows", ""],
  ["O07", "divergence of H2O minus that of the policy chosen on other prompts", "nats"],
  ["O08", "divergence of maps fitted over a part of the small model's layers over that of all", ""],
  ["O09", "divergence with a small model that has tokens of its own over that of matched rows", ""],
  ["O10", "divergence with 4 bits a number in the small model's cache over that with 16", ""],
];

/** What an experiment adds to the paper's words, or replaces. */
export type ClaimDetail =
  & Pick<Claim, "kind">
  & Partial<
    Pick<Claim, "statement" | "unit" | "source" | "tolerance" | "expected" | "pairs" | "note">
  >
  & {
    /** The paper's value for this number; `null` for a trend that the paper states without one. */
    readonly paper?: number | string | null;
  };

/**
 * Makes an experiment's claim from the paper's.
 *
 * @param id "C01" to "C64".
 * @param detail How it is compared, and what differs from the paper's words.
 * @returns The claim.
 * @throws {RequirementError} If the list has no such claim.
 */
export function claimOf(id: string, detail: ClaimDetail): Claim {
  const listed = PAPER_CLAIMS.find((claim) => claim.id === id);
  if (listed === undefined) {
    throw new RequirementError({
      action: "find a claim",
      requirement: "id must be from C01 to C64",
      current: id,
    });
  }
  const { paper = listed.paper, ...rest } = detail;
  const { paper: _, ...words } = listed;
  return { ...words, tolerance: 0, ...rest, ...(paper === null ? {} : { paper }) };
}

/**
 * Makes a claim that holds if the whole interval lies in a range; the paper states it without a number.
 *
 * @param id "C01" to "C64".
 * @param statement What is compared.
 * @param detail What differs from the paper's words; `expected`: everything above 0 if left out.
 * @returns The claim.
 */
export function trendOf(
  id: string,
  statement: string,
  detail: Omit<ClaimDetail, "kind"> = {},
): Claim {
  return claimOf(id, { kind: "trend", paper: null, statement, expected: { above: 0 }, ...detail });
}

/**
 * Makes a claim about a value, which is judged only for the paper's own pairs.
 *
 * @param id "C01" to "C64".
 * @param detail Tolerance and pairs, and what differs from the paper's words.
 * @returns The claim.
 */
export function absoluteOf(id: string, detail: Omit<ClaimDetail, "kind"> = {}): Claim {
  return claimOf(id, { kind: "absolute", ...detail });
}

/**
 * Makes a claim of this project, which holds if the whole interval lies in a range.
 *
 * @param id "O01" to "O10".
 * @param detail What is added to its words, and the range.
 * @throws {RequirementError} If the list has no such claim.
 */
export function ownClaim(
  id: string,
  { at, expected, note }: {
    readonly at?: string;
    readonly expected: NonNullable<Claim["expected"]>;
    readonly note?: string;
  },
): Claim {
  const row = OWN_ROWS.find(([own]) => own === id);
  if (row === undefined) {
    throw new RequirementError({
      action: "find a claim",
      requirement: `id must be from ${OWN_ROWS[0]![0]} to ${OWN_ROWS.at(-1)![0]}`,
      current: id,
    });
  }
  const [, statement, unit] = row;
  return {
    ...{ id, source: "this project", kind: "trend", unit, tolerance: 0, expected },
    statement: at === undefined ? statement : `${statement}, ${at}`,
    ...(note !== undefined && { note }),
  };
}

/**
 * Lists the claims that no experiment measures, which a report shows as "not run".
 *
 * @param experiments The experiments of a run.
 * @returns The other claims, in order.
 */
export function untouchedClaims(experiments: readonly Experiment[]): PaperClaim[] {
  const touched = new Set(
    experiments.flatMap(({ claims }) => Object.values(claims).map(({ id }) => id)),
  );
  return PAPER_CLAIMS.filter(({ id }) => !touched.has(id));
}

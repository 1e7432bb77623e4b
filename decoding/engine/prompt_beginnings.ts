/**
 * Sequences that begin with a prompt that is run for several settings, and what of it is needed to match their heads.
 *
 * @module
 */

import type { Model } from "../../models/load.ts";
import { type PairMatchOptions, summedTokens } from "../scoring/head_matching.ts";
import { DEFAULT_FIT_ROWS, RowCapture } from "../scoring/map_fitting.ts";
import type { SmallModelCut } from "../scoring/small_model.ts";
import type { SequenceSetting } from "../selection/sequence_settings.ts";
import type { PromptSequence } from "./prompt.ts";

/** A setting that prompts are run for. */
export type PromptSetting =
  & SequenceSetting
  & Pick<SmallModelCut, "smallLayers" | "smallCacheBits">
  & {
    /** What heads are matched by, or whether a map is fitted in place of a match; the usual if left out. */
    readonly match?: Pick<PairMatchOptions, "by">;
  };

/** Setting and state of a sequence that begins with a prompt. */
export interface Beginning extends PromptSequence {
  /** Index of its setting. */
  readonly setting: number;
  /** The setting itself. */
  readonly options: PromptSetting;
}

/** What heads are matched by. */
export type MatchBy = NonNullable<PairMatchOptions["by"]>;

/** The sequence that the newest prefix stays in, and the one for prompts that are run whole. */
export const SHARED = 0, WHOLE = 1;
/** One of the two. */
export type Place = typeof SHARED | typeof WHOLE;

/** What the heads of a sequence are matched by. */
export function matchBy({ options }: Beginning): MatchBy {
  return options.match?.by ?? "jaccard";
}

/** Whether a map is fitted for one of the sequences. */
export function isFitting(sequences: readonly Beginning[]): boolean {
  return sequences.some((one) => matchBy(one) === "fitted");
}

/**
 * First tokens whose attention is summed to match heads by; 0 if all sequences are fitted or have no small model.
 *
 * @param sequences The sequences.
 * @param text Tokens of the prompt, and whether the small model reads in tokens of its own.
 */
export function matchedTokens(
  sequences: readonly Beginning[],
  { tokens, hasOwnTokens }: { readonly tokens: number; readonly hasOwnTokens: boolean },
): number {
  const isMatched = sequences.some((one) =>
    one.smallSequence !== undefined && matchBy(one) !== "fitted"
  );
  return isMatched ? summedTokens({}, tokens, hasOwnTokens) : 0;
}

/** Collects the rows of one model that a map is fitted on, if one is fitted for a sequence. */
export function rowCapture(
  sequences: readonly Beginning[],
  config: Model["config"],
  text: { readonly tokens: number; readonly isGrouped: boolean },
): RowCapture | undefined {
  if (!isFitting(sequences)) return undefined;
  return new RowCapture(config, { ...text, rows: DEFAULT_FIT_ROWS });
}

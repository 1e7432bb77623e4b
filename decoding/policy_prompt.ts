/**
 * What a policy has to know of a text before it may drop tokens: matched heads and scores so far.
 *
 * @module
 */

import { matchHeadGroups } from "../analysis/group_match.ts";
import { type HeadMatch, matchHeads, type MatchOptions } from "../analysis/head_match.ts";
import type { HeadSaliency } from "../analysis/head_saliency.ts";
import type { ResolvedPolicy } from "../cache/policy_options.ts";
import type { Model } from "../models/load.ts";
import type { OwnScores } from "./own_scores.ts";
import { decayOf } from "./policy_steps.ts";
import { Session } from "./session.ts";

/** Rows that the decayed scores of a helper start from. */
const DECAY_ROWS = 32;

/** How a prompt is run. */
export interface PromptOptions {
  /** Which sequence grows; 0 if left out. */
  readonly sequence?: number;
  /** Receives the logits of the prompt's last row, [1, vocabulary]. */
  readonly onLogits?: (logits: Float32Array) => void;
  /** Called with the tokens done so far, of both models together, and how many there are. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Stops between chunks. */
  readonly signal?: AbortSignal;
}

/** What the helper knows of a text. */
export interface HelperState {
  /** For each large head the most similar small head. */
  readonly match: HeadMatch;
  /** What the helper's heads remember of each token, [smallHeads, tokens]. */
  readonly scores: Float32Array;
}

/** Sessions of the two models, both summing attention, and how they are used. */
export interface HelperPrompt {
  /** Session of the large model. */
  readonly large: Session;
  /** Session of the small model. */
  readonly small: Session;
  /** The policy. */
  readonly policy: ResolvedPolicy;
  /** How heads are matched. */
  readonly match: MatchOptions;
}

/**
 * Runs a text through both models and matches their heads on its first tokens.
 *
 * @param prompt Sessions with nothing in the sequence yet.
 * @param tokens The text, long enough for matching.
 * @param options Sequence, progress, signal.
 * @returns Match and scores.
 */
export async function runHelperPrompt(
  prompt: HelperPrompt,
  tokens: readonly number[],
  options: PromptOptions = {},
): Promise<HelperState> {
  const { sequence = 0 } = options;
  const window = Math.min(tokens.length, prompt.match.window ?? 200);
  const large = await runInParts(prompt.large, tokens, { ...options, window, isFirst: true });
  const small = await runInParts(prompt.small, tokens, { ...options, window, isFirst: false });
  const match = matchPrompt(prompt, {
    large: { ...prompt.large.model.config, tokens: window, accumulated: large },
    small: { ...prompt.small.model.config, tokens: window, accumulated: small },
  });
  return { match, scores: await helperScores(prompt, tokens, sequence) };
}

/** Matches heads, or groups of them where the policy has one match for each group. */
function matchPrompt(
  { large, policy, match }: HelperPrompt,
  saliency: { readonly large: HeadSaliency; readonly small: HeadSaliency },
): HeadMatch {
  const { queryHeads, kvHeads } = large.model.config;
  return policy.granularity === "kv_match"
    ? matchHeadGroups(saliency.large, saliency.small, { ...match, groupSize: queryHeads / kvHeads })
    : matchHeads(saliency.large, saliency.small, match);
}

/**
 * Scores the tokens of a text by what the small model's heads remember of them.
 *
 * @param prompt Sessions with the text in the sequence, all of its rows summed.
 * @param tokens The text.
 * @param sequence Which sequence.
 * @returns Scores, [smallHeads, tokens].
 */
async function helperScores(
  { small, policy }: HelperPrompt,
  tokens: readonly number[],
  sequence: number,
): Promise<Float32Array> {
  if (policy.score === "accumulated") return await small.accumulated(sequence);
  const first = Math.max(0, tokens.length - DECAY_ROWS);
  small.rewind(first, sequence);
  small.clearAccumulated();
  await small.prefill(tokens.slice(first), { sequence, logits: "none", rowDecay: decayOf(policy) });
  return await small.accumulated(sequence);
}

/** Runs the matching window, then the rest, and returns the sums of the former. */
async function runInParts(
  session: Session,
  tokens: readonly number[],
  options: PromptOptions & { readonly window: number; readonly isFirst: boolean },
): Promise<Float32Array> {
  const { sequence = 0, window, isFirst, signal, onLogits } = options;
  const total = 2 * tokens.length;
  const before = isFirst ? 0 : tokens.length;
  const run = (start: number, end: number) =>
    session.prefill(tokens.slice(start, end), {
      sequence,
      logits: isFirst && end === tokens.length ? "last" : "none",
      ...(signal && { signal }),
      ...(onLogits && { onLogits }),
      onProgress: (done) => options.onProgress?.(before + start + done, total),
    });
  await run(0, window);
  const sums = await session.accumulated(sequence);
  if (window < tokens.length) await run(window, tokens.length);
  return sums;
}

/**
 * Matches two models when a text becomes long enough while it is being decoded.
 *
 * @param pair Models and how they are used.
 * @param tokens The text, its newest token included, whose row is not in the scores yet.
 * @returns Match over all tokens, scores of the rows before the newest.
 */
export async function matchWhileDecoding(
  pair: {
    readonly large: Model;
    readonly small: Model;
    readonly policy: ResolvedPolicy;
    readonly match: MatchOptions;
  },
  tokens: readonly number[],
): Promise<HelperState> {
  const sizes = { capacity: tokens.length, accumulate: true };
  using large = new Session(pair.large, sizes);
  using small = new Session(pair.small, sizes);
  const prompt = { ...pair, large, small };
  const { match } = await runHelperPrompt(prompt, tokens);
  using again = new Session(pair.small, sizes);
  const earlier = tokens.slice(0, -1);
  await again.prefill(earlier, { logits: "none" });
  return { match, scores: await helperScores({ ...prompt, small: again }, earlier, 0) };
}

/**
 * Runs a text through the large model alone and remembers its own attention.
 *
 * @param session Session with nothing in the sequence yet; it sums attention if the policy wants sums.
 * @param tokens The text.
 * @param options Policy's memory, the rows it looks at, sequence, progress, signal.
 */
export async function runOwnPrompt(
  session: Session,
  tokens: readonly number[],
  options: PromptOptions & { readonly own?: OwnScores; readonly rows: number },
): Promise<void> {
  const { sequence = 0, own, signal, onLogits } = options;
  const watched = own ? Math.min(options.rows, tokens.length) : 0;
  const run = (start: number, end: number) =>
    session.prefill(tokens.slice(start, end), {
      sequence,
      logits: end === tokens.length ? "last" : "none",
      ...(signal && { signal }),
      ...(onLogits && { onLogits }),
      ...(start > 0 || watched === tokens.length ? watching(session, own, watched) : {}),
      onProgress: (done) => options.onProgress?.(start + done, tokens.length),
    });
  const first = tokens.length - watched;
  if (first > 0) await run(0, first);
  if (watched > 0) await run(first, tokens.length);
  if (own && watched === 0) own.startFromSums(await session.accumulated(sequence));
  own?.finishPrompt();
}

function watching(session: Session, own: OwnScores | undefined, watched: number) {
  if (!own || watched === 0) return {};
  const all = Array.from({ length: session.model.config.queryHeads }, (_, head) => head);
  return {
    heads: () => all,
    onMap: (block: Parameters<OwnScores["addPromptRows"]>[0]) => own.addPromptRows(block),
  };
}

/**
 * Prompts of sequences that decode under policies: run once, and remembered as each policy wants.
 *
 * @module
 */

import type { MatchOptions } from "../analysis/head_match.ts";
import type { ResolvedPolicy } from "../cache/policy_options.ts";
import type { Model } from "../models/load.ts";
import { decayOf } from "./policy_lanes.ts";
import {
  type PromptEvents,
  type PromptLane,
  type PromptPart,
  promptParts,
  runParts,
} from "./prompt_parts.ts";
import {
  type HeadMatches,
  matchPrompt,
  matchText,
  matchWidth,
  type PromptModels,
} from "./prompt_match.ts";
import { runPrunedPrompt } from "./pruned_prompt.ts";
import { Session } from "./session.ts";

/** Rows that the decayed scores of a helper start from. */
const DECAY_ROWS = 32;

/** How a prompt is run. */
export interface PromptOptions extends PromptEvents {
  /** Which sequence grows, or which ones begin with this prompt; 0 if left out. */
  readonly sequence?: number | readonly number[];
}

/** What the helper knows of a text. */
export interface HelperState {
  /** For each large head the most similar small head; `kv_match` has one for all heads of a KV head. */
  readonly matches: HeadMatches;
  /** What the helper's heads remember of each token, [smallHeads, tokens], by the factor on older rows. */
  readonly scores: ReadonlyMap<number, Float32Array>;
}

/**
 * Runs a prompt once for all sequences that begin with it.
 *
 * @param models Sessions with nothing in these sequences yet.
 * @param tokens The prompt.
 * @param options Sequences; whether the helper's plain sums are wanted whatever the policies rank by; progress, signal,
 *   receiver of logits.
 * @returns What the helper knows; absent if no sequence has one or the prompt is too short for matching.
 */
export async function runPrompt(
  models: PromptModels,
  tokens: readonly number[],
  options: PromptEvents & { readonly lanes: readonly PromptLane[]; readonly needsSums: boolean },
): Promise<HelperState | undefined> {
  const { onProgress, ...events } = options;
  const pruned = options.lanes.filter(({ sequence }) => sequence.isPruned);
  const lanes = options.lanes.filter(({ sequence }) => !sequence.isPruned);
  const runs = pruned.length +
    (lanes.some(({ stream }) => stream !== undefined) ? 2 : lanes.length > 0 ? 1 : 0);
  const progressFrom = (start: number) => (done: number) =>
    onProgress?.(start + done, runs * tokens.length);
  let start = 0;
  for (const lane of pruned) {
    await runPrunedPrompt(models.large, tokens, {
      ...events,
      lane,
      onProgress: progressFrom(start),
    });
    start += tokens.length;
  }
  if (lanes.length === 0) return undefined;
  return await runExactPrompt(models, tokens, {
    ...events,
    lanes,
    onProgress: progressFrom(start),
  });
}

/** The prompt of sequences that see all of it. */
async function runExactPrompt(
  models: PromptModels,
  tokens: readonly number[],
  options: PartEvents & { readonly lanes: readonly PromptLane[]; readonly needsSums: boolean },
): Promise<HelperState | undefined> {
  const { lanes, needsSums, ...events } = options;
  const { large, small } = models;
  const helped = lanes.filter(({ stream }) => stream !== undefined);
  const ready = helped.filter(({ sequence }) => tokens.length >= sequence.policy.minimumTokens);
  const window = ready.length > 0 ? matchWidth(models, tokens) : 0;
  const [first, ...others] = lanes.map(({ index }) => index);
  const sums = await runOwn(large, promptParts(tokens, { window, lanes }), {
    ...events,
    sequence: first!,
    lanes,
  });
  await large.fork(first!, others);
  if (!small || helped.length === 0) return undefined;
  const policies = ready.map(({ sequence }) => sequence.policy);
  const streams = [...new Set(helped.map(({ stream }) => stream!))];
  const { signal } = events;
  const state = await runHelper({ ...models, small }, tokens, {
    ...(signal && { signal }),
    onProgress: (done) => events.onProgress?.(tokens.length + done),
    sequence: streams[0]!,
    policies,
    decays: decaysOf(policies, needsSums),
    ...(window > 0 && { large: { sums, window } }),
  });
  await small.fork(streams[0]!, streams.slice(1));
  return state;
}

/**
 * Matches two models when a text becomes long enough while it is being decoded.
 *
 * @param pair Models, how their heads are matched, the policies that want to know, whether plain sums are wanted too.
 * @param tokens The text, its newest token included, whose row is not in the scores yet.
 * @returns Match over all tokens, scores of the rows before the newest.
 */
export async function matchWhileDecoding(
  pair: {
    readonly large: Model;
    readonly small: Model;
    readonly match: MatchOptions;
    readonly policies: readonly ResolvedPolicy[];
    readonly needsSums: boolean;
  },
  tokens: readonly number[],
): Promise<HelperState> {
  const sizes = { capacity: tokens.length, accumulate: true };
  using large = new Session(pair.large, sizes);
  using small = new Session(pair.small, sizes);
  const { policies, needsSums } = pair;
  const sessions = { large, small, match: pair.match };
  const matches = await matchText(sessions, tokens, policies);
  using again = new Session(pair.small, sizes);
  const earlier = tokens.slice(0, -1);
  await again.prefill(earlier, { logits: "none" });
  const decays = decaysOf(policies, needsSums);
  return { matches, scores: await helperScores(again, earlier, { sequence: 0, decays }) };
}

/** The large model's prompt; returns the sums of the matching window, if there is one. */
async function runOwn(
  session: Session,
  parts: readonly PromptPart[],
  options: PartEvents & { readonly sequence: number; readonly lanes: readonly PromptLane[] },
): Promise<Float32Array> {
  const { sequence, lanes } = options;
  let sums: Float32Array = new Float32Array(0);
  await runParts(session, parts, {
    ...options,
    sequences: lanes.map(({ index }) => index),
    logits: "last",
    onWindow: async () => {
      sums = await session.accumulated(sequence);
    },
  });
  const needsSums = lanes.some(({ sequence: { own } }) => own?.needsSums);
  const all = needsSums ? await session.accumulated(sequence) : undefined;
  for (const { sequence: { own } } of lanes) {
    if (own?.needsSums) own.startFromSums(all!);
    own?.finishPrompt();
  }
  return sums;
}

/** What a model's own run tells. */
type PartEvents = Omit<PromptEvents, "onProgress"> & {
  readonly onProgress?: (done: number) => void;
};

interface HelperPrompt extends PartEvents {
  readonly sequence: number;
  /** Policies that want to know. */
  readonly policies: readonly ResolvedPolicy[];
  /** Factors on older rows that are asked for. */
  readonly decays: readonly number[];
  /** What the large model's heads receive in the matching window; absent if there is to be no matching. */
  readonly large?: { readonly sums: Float32Array; readonly window: number };
}

/** The small model's prompt, matched with the large model. */
async function runHelper(
  models: Required<PromptModels>,
  tokens: readonly number[],
  options: HelperPrompt,
): Promise<HelperState | undefined> {
  const { small } = models;
  const { sequence, policies, decays, large: own, ...events } = options;
  const ends = own && own.window < tokens.length ? [own.window, tokens.length] : [tokens.length];
  let sums: Float32Array = new Float32Array(0);
  const parts = ends.map((end, index): PromptPart => {
    const start = index === 0 ? 0 : ends[0]!;
    const isSummed = own !== undefined && (index === 0 || decays.includes(1));
    return {
      start,
      tokens: tokens.slice(start, end),
      isSummed,
      isWindow: end === own?.window,
      watched: [],
    };
  });
  await runParts(small, parts, {
    ...events,
    sequence,
    logits: "none",
    onWindow: async () => {
      sums = await small.accumulated(sequence);
    },
  });
  if (!own) return undefined;
  const { window } = own;
  const matches = matchPrompt(models, { window, sums: { large: own.sums, small: sums }, policies });
  return { matches, scores: await helperScores(small, tokens, { sequence, decays }) };
}

/** Scores of the tokens of a text that the session has run, its rows summed if all of them count the same. */
async function helperScores(
  small: Session,
  tokens: readonly number[],
  { sequence, decays }: { readonly sequence: number; readonly decays: readonly number[] },
): Promise<HelperState["scores"]> {
  const scores = new Map<number, Float32Array>();
  if (decays.includes(1)) scores.set(1, await small.accumulated(sequence));
  const first = Math.max(0, tokens.length - DECAY_ROWS);
  for (const decay of decays.filter((decay) => decay !== 1)) {
    small.rewind(first, sequence);
    small.clearAccumulated();
    await small.prefill(tokens.slice(first), { sequence, logits: "none", rowDecay: decay });
    scores.set(decay, await small.accumulated(sequence));
  }
  return scores;
}

/** Factors on older rows that are asked for, each once. */
function decaysOf(policies: readonly ResolvedPolicy[], needsSums: boolean): number[] {
  return [...new Set([...needsSums ? [1] : [], ...policies.map(decayOf)])];
}

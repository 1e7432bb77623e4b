/**
 * Prompts of sequences that decode under policies: run once, and remembered as each policy wants.
 *
 * @module
 */

import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import type { Model } from "../../models/load.ts";
import { PLAIN_SCORES, scoreKey, type ScoreKind, scoreKind } from "../policies/policy_lanes.ts";
import {
  cutsOf,
  edgesOf,
  isInside,
  type PromptEvents,
  type PromptLane,
  type PromptPart,
  promptParts,
  runParts,
  type WindowEdge,
} from "./prompt_parts.ts";
import {
  type HeadMatches,
  matchPrompt,
  matchText,
  type MatchWindow,
  matchWindow,
  type PairMatchOptions,
  type PromptModels,
  windowSums,
} from "./prompt_match.ts";
import { runPrunedPrompt } from "./pruned_prompt.ts";
import { Session } from "../sessions/session.ts";

/** How a prompt is run. */
export interface PromptOptions extends PromptEvents {
  /** Which sequence grows, or which ones begin with this prompt; 0 if left out. */
  readonly sequence?: number | readonly number[];
}

/** What the helper knows of a text. */
export interface HelperState {
  /** For each large head the most similar small head; `kv_match` has one for all heads of a KV head. */
  readonly matches: HeadMatches;
  /** What the helper's heads remember of each token, [smallHeads, tokens], by `scoreKey`. */
  readonly scores: ReadonlyMap<string, Float32Array>;
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
  const window = ready.length > 0 ? matchWindow(models.match, tokens.length) : undefined;
  const [first, ...others] = lanes.map(({ index }) => index);
  const parts = promptParts(tokens, { lanes, ...(window && { window }) });
  const sums = await runOwn(large, parts, {
    ...events,
    ...(window && { window }),
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
    kinds: kindsOf(policies, needsSums),
    ...(window && { large: { sums, window } }),
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
    readonly match: PairMatchOptions;
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
  const kinds = kindsOf(policies, needsSums);
  return { matches, scores: await helperScores(again, earlier, { sequence: 0, kinds }) };
}

/** The large model's prompt; returns the sums of the matching window, if there is one. */
async function runOwn(
  session: Session,
  parts: readonly PromptPart[],
  options: PartEvents & {
    readonly sequence: number;
    readonly lanes: readonly PromptLane[];
    readonly window?: MatchWindow;
  },
): Promise<Float32Array> {
  const { sequence, lanes, window } = options;
  const received = new WindowReader(session, sequence);
  await runParts(session, parts, {
    ...options,
    sequences: lanes.map(({ index }) => index),
    logits: "last",
    onWindow: (edge) => received.at(edge),
  });
  const needsSums = lanes.some(({ sequence: { own } }) => own?.needsSums);
  const all = needsSums ? await session.accumulated(sequence) : undefined;
  for (const { sequence: { own } } of lanes) {
    if (own?.needsSums) own.startFromSums(all!);
    own?.finishPrompt();
  }
  return window ? received.sums(window) : new Float32Array(0);
}

/** Reads what tokens receive from the rows of a matching window. */
class WindowReader {
  readonly #session: Session;
  readonly #sequence: number;
  readonly #read = new Map<WindowEdge, Float32Array>();

  constructor(session: Session, sequence: number) {
    this.#session = session;
    this.#sequence = sequence;
  }

  async at(edge: WindowEdge): Promise<void> {
    this.#read.set(edge, await this.#session.accumulated(this.#sequence));
  }

  sums(window: MatchWindow): Float32Array {
    return windowSums(this.#read.get("end")!, window, this.#read.get("first"));
  }
}

/** What a model's own run tells. */
type PartEvents = Omit<PromptEvents, "onProgress"> & {
  readonly onProgress?: (done: number) => void;
};

interface HelperPrompt extends PartEvents {
  readonly sequence: number;
  /** Policies that want to know. */
  readonly policies: readonly ResolvedPolicy[];
  /** Scores that are asked for. */
  readonly kinds: readonly ScoreKind[];
  /** What the large model's heads receive in the matching window; absent if there is to be no matching. */
  readonly large?: { readonly sums: Float32Array; readonly window: MatchWindow };
}

/** The small model's prompt, matched with the large model. */
async function runHelper(
  models: Required<PromptModels>,
  tokens: readonly number[],
  options: HelperPrompt,
): Promise<HelperState | undefined> {
  const { small } = models;
  const { sequence, policies, kinds, large: own, ...events } = options;
  const isPlain = kinds.some((kind) => countsAll(kind, tokens));
  const ends = cutsOf([own?.window.first, own?.window.end, tokens.length]);
  const parts = ends.map((end, index): PromptPart => {
    const start = ends[index - 1] ?? 0;
    return {
      start,
      tokens: tokens.slice(start, end),
      isSummed: own !== undefined && (isPlain || isInside(own.window, start, end)),
      edges: edgesOf(own?.window, start, end),
      watched: [],
    };
  });
  const received = new WindowReader(small, sequence);
  await runParts(small, parts, {
    ...events,
    sequence,
    logits: "none",
    onWindow: (edge) => received.at(edge),
  });
  if (!own) return undefined;
  const { window } = own;
  const sums = { large: own.sums, small: received.sums(window) };
  const matches = matchPrompt(models, { window, sums, policies });
  return { matches, scores: await helperScores(small, tokens, { sequence, kinds }) };
}

/** Scores of the tokens of a text that the session has run, its rows summed if all of them count the same. */
async function helperScores(
  small: Session,
  tokens: readonly number[],
  { sequence, kinds }: { readonly sequence: number; readonly kinds: readonly ScoreKind[] },
): Promise<HelperState["scores"]> {
  const scores = new Map<string, Float32Array>();
  for (const kind of kinds.filter((kind) => countsAll(kind, tokens))) {
    scores.set(scoreKey(kind), await small.accumulated(sequence));
  }
  for (const kind of kinds.filter((kind) => !countsAll(kind, tokens))) {
    const first = Math.max(0, tokens.length - kind.rows);
    small.rewind(first, sequence);
    small.clearAccumulated();
    await small.prefill(tokens.slice(first), { sequence, logits: "none", rowDecay: kind.decay });
    scores.set(scoreKey(kind), await small.accumulated(sequence));
  }
  return scores;
}

/** Whether all rows of a text count the same. */
function countsAll({ decay, rows }: ScoreKind, tokens: readonly number[]): boolean {
  return decay === 1 && rows >= tokens.length;
}

/** Scores that are asked for, each kind once. */
function kindsOf(policies: readonly ResolvedPolicy[], needsSums: boolean): ScoreKind[] {
  const kinds = [...needsSums ? [PLAIN_SCORES] : [], ...policies.map(scoreKind)];
  return [...new Map(kinds.map((kind) => [scoreKey(kind), kind])).values()];
}

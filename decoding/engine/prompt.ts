/**
 * Prompts of sequences that decode under policies: run once, and remembered as each policy needs.
 *
 * @module
 */

import type { FittedMap } from "../../analysis/fitted_map.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import {
  isDeviceScore,
  PLAIN_SCORES,
  scoreKey,
  type ScoreKind,
  scoreKind,
} from "../selection/sequence_settings.ts";
import {
  type HeadMatches,
  isFitted,
  isMatchedByPrompt,
  matchBySums,
  type MatchedModels,
  matchText,
  matchTokens,
  type PairMatchOptions,
  summedTokens,
  type WindowSums,
} from "../scoring/head_matching.ts";
import {
  captureRows,
  fitCaptured,
  fitText,
  followMap,
  type RowCapture,
} from "../scoring/map_fitting.ts";
import { runPrunedPrompt } from "./pruned_prompt.ts";
import { type Observer, promptParts, readersOf, runParts } from "./prompt_parts.ts";
import { ExactSums } from "../session/exact_sums.ts";
import type { Session } from "../session/session.ts";
import type { PrefillOptions } from "../session/session_options.ts";
import { readVectors } from "../session/vectors.ts";
import type { HostScores } from "../scoring/host_scores.ts";
import type { PolicySequence } from "./sequence.ts";
import { openSmallSession, type SmallSession } from "../scoring/own_tokens.ts";

/** The two models, each with its own session, and how their heads are matched. */
interface PromptModels {
  /** The large model. */
  readonly large: Session;
  /** The small model, if a policy uses one. */
  readonly small?: SmallSession;
  /** How heads are matched. */
  readonly match: PairMatchOptions;
}

/** How a prompt is run. */
export interface PromptOptions extends PromptEvents {
  /** The sequence that grows, or those that begin with this prompt; 0 if left out. */
  readonly sequence?: number | readonly number[];
}

/** What the small model knows of a text. */
export interface SmallModelState {
  /** For each large head the most similar small head, or its row of the map; `kv_match` has one for all heads of a KV head. */
  readonly matches: HeadMatches;
  /** Fitted map, if heads are not matched. */
  readonly map?: FittedMap;
  /** What the small model's heads remember of each token, [smallHeads, tokens], by `scoreKey`. */
  readonly scores: ReadonlyMap<string, Float32Array>;
}

/**
 * Runs a prompt once for all sequences that begin with it.
 *
 * @param models Sessions with nothing in these sequences yet.
 * @param tokens The prompt.
 * @param options Sequences; whether the small model's plain sums are needed whatever the policies rank by; progress,
 *   signal, receiver of logits.
 * @returns What the small model knows; absent if no sequence has one or the prompt is too short for matching.
 */
export async function runPrompt(
  models: PromptModels,
  tokens: readonly number[],
  options: PromptEvents & {
    readonly promptSequences: readonly PromptSequence[];
    readonly needsSums: boolean;
  },
): Promise<SmallModelState | undefined> {
  const { onProgress, ...events } = options;
  const pruned = options.promptSequences.filter(({ sequence }) => sequence.isPruned);
  const promptSequences = options.promptSequences.filter(({ sequence }) => !sequence.isPruned);
  const withSmallModel = promptSequences.filter(({ smallSequence }) => smallSequence !== undefined);
  const ready = withSmallModel.map(({ sequence: { policy } }) => policy)
    .filter(({ minimumTokens }) => tokens.length >= minimumTokens);
  const hasOwnTokens = models.small?.model.givenTokenizer !== undefined;
  const matched = ready.length > 0 ? matchTokens(models.match, tokens.length, hasOwnTokens) : 0;
  const runs = pruned.length + (promptSequences.length > 0 ? 1 : 0) +
    (withSmallModel.length > 0 ? 1 : 0);
  const total = matched + runs * tokens.length;
  let start = 0;
  const report = (done: number) => onProgress?.(start + done, total);
  for (const promptSequence of pruned) {
    await runPrunedPrompt(models.large, tokens, { ...events, promptSequence, onProgress: report });
    start += tokens.length;
  }
  if (promptSequences.length === 0) return undefined;
  const { large, small, match } = models;
  const isMatched = ready.length > 0;
  const pair = isMatched ? { large: large.model, small: small!.model, match } : undefined;
  const known = pair && !isMatchedByPrompt(match, hasOwnTokens)
    ? await matchText(pair, tokens, {
      policies: ready,
      onProgress: report,
      ...(events.signal && { signal: events.signal }),
    })
    : undefined;
  start += matched;
  const captures = pair &&
    captureRows(pair.large.config, pair.small.config, { match, tokens: tokens.length });
  const { scores, sums } = await runExactPrompt(models, tokens, {
    ...events,
    promptSequences,
    onProgress: report,
    kinds: isMatched ? kindsOf(ready, options.needsSums) : [],
    summedTokens: isMatched ? summedTokens(match, tokens.length, hasOwnTokens) : 0,
    ...(captures && { captures }),
  });
  if (!pair) return undefined;
  if (isFitted(match)) {
    const rows = captures && { large: captures.large.rows, small: captures.small.rows };
    const map = rows ? fitCaptured(rows, match) : match.fittedMap!;
    return { ...followMap(large.model.config, map), scores };
  }
  const found = known ??
    matchBySums(pair, tokens.length, { policies: ready, ...(sums && { sums }) });
  return { matches: found, scores };
}

/** What running a prompt leaves: the small model's scores of each kind, and sums to match heads by where requested. */
interface ExactPrompt {
  readonly scores: SmallModelState["scores"];
  readonly sums?: WindowSums;
}

/** Runs the prompt of sequences that see all of it. */
async function runExactPrompt(
  { large, small }: PromptModels,
  tokens: readonly number[],
  options: PartEvents & {
    readonly promptSequences: readonly PromptSequence[];
    readonly kinds: readonly ScoreKind[];
    readonly summedTokens: number;
    readonly captures?: { readonly large: RowCapture; readonly small: RowCapture };
  },
): Promise<ExactPrompt> {
  const { promptSequences, kinds, summedTokens, captures, ...events } = options;
  const [first, ...others] = promptSequences.map(({ index }) => index);
  const largeSums = await withSums(
    large,
    summedTokens,
    (exactSums) =>
      runLargeModel(large, tokens, {
        ...{ ...events, ...exactSums, sequence: first!, promptSequences },
        ...(captures && { capture: captures.large }),
      }),
  );
  await large.fork(first!, others);
  const smallSequences = [
    ...new Set(promptSequences.flatMap(({ smallSequence }) => smallSequence ?? [])),
  ];
  if (!small || smallSequences.length === 0) return { scores: new Map() };
  const { signal } = events;
  let scores: SmallModelState["scores"] = new Map();
  const smallSums = await withSums(small, summedTokens, async (exactSums) => {
    scores = await runSmallModel(small, tokens, {
      sequence: smallSequences[0]!,
      promptSequences,
      kinds,
      onProgress: (done) => events.onProgress?.(tokens.length + done),
      ...(signal && { signal }),
      ...(captures && { capture: captures.small }),
      ...exactSums,
    });
  });
  await small.fork(smallSequences[0]!, smallSequences.slice(1));
  if (!largeSums || !smallSums) return { scores };
  return { scores, sums: { large: largeSums, small: smallSums } };
}

/** Runs a prompt and sums the attention of its first tokens with keys in 32 bits; nothing is summed for 0 tokens. */
export async function withSums(
  session: Pick<Session, "forward">,
  tokens: number,
  run: (options: Pick<PrefillOptions, "exactSums">) => Promise<void>,
): Promise<Float32Array | undefined> {
  if (tokens === 0) {
    await run({});
    return undefined;
  }
  using exactSums = new ExactSums(session.forward, tokens);
  await run({ exactSums });
  return await exactSums.read();
}

/** What a session holds already when it runs a prompt: the prompt's first tokens, a multiple of its chunk. */
export interface PromptStart {
  /** How many; all of them come before the first row that a score reads. */
  readonly tokens: number;
  /** What the model's heads remember of them, [heads, tokens], by `scoreKey`; of all kinds that the prompt needs. */
  readonly sums: ReadonlyMap<string, Float32Array>;
}

/**
 * Runs the small model's prompt.
 *
 * @param small Its session.
 * @param tokens The prompt.
 * @param options One of its sequences, the sequences that begin with the prompt, the scores that they need, where the
 *   sequence starts if not at the first token.
 * @returns Scores of each kind, by `scoreKey`.
 */
export async function runSmallModel(
  small: SmallSession,
  tokens: readonly number[],
  options: Omit<PartEvents, "onLogits"> & {
    readonly sequence: number;
    readonly promptSequences: readonly PromptSequence[];
    readonly kinds: readonly ScoreKind[];
    readonly start?: PromptStart;
    readonly capture?: RowCapture;
  },
): Promise<SmallModelState["scores"]> {
  const { sequence, promptSequences, kinds, start, capture, ...events } = options;
  const observers = observersOf(promptSequences, ({ small: scores }) => scores);
  await runParts(
    small,
    promptParts(tokens, readersOf(observers, tokens.length, capture), start?.tokens),
    {
      ...events,
      sequence,
      observers,
      tokens,
      isSummed: kinds.some((kind) => countsAll(kind, tokens)),
    },
  );
  return await smallScores(small, tokens, { sequence, kinds, ...(start && { start }) });
}

/**
 * Matches two models when a text becomes long enough while it is being decoded.
 *
 * @param pair Models, how their heads are matched, the policies that use the match, whether plain sums are needed too.
 * @param tokens The text including its newest token, whose row is not in the scores yet.
 * @returns Match over all tokens, scores of the rows before the newest.
 */
export async function matchWhileDecoding(
  pair: MatchedModels & {
    readonly policies: readonly ResolvedPolicy[];
    readonly needsSums: boolean;
  },
  tokens: readonly number[],
): Promise<SmallModelState> {
  const { small, policies, needsSums } = pair;
  const found = isFitted(pair.match)
    ? followMap(pair.large.config, await fitText(pair, tokens))
    : { matches: await matchText(pair, tokens, { policies }) };
  const { smallCacheBits: cacheBits } = pair;
  const format = cacheBits !== undefined && { cacheBits };
  using again = openSmallSession(small, { capacity: tokens.length, accumulate: true, ...format });
  const earlier = tokens.slice(0, -1);
  await again.prefill(earlier, { logits: "none" });
  const kinds = kindsOf(policies, needsSums);
  return { ...found, scores: await smallScores(again, earlier, { sequence: 0, kinds }) };
}

/** Runs the large model's prompt, from where the sequence starts if not from the first token. */
export async function runLargeModel(
  session: Session,
  tokens: readonly number[],
  options: PartEvents & {
    readonly sequence: number;
    readonly promptSequences: readonly PromptSequence[];
    readonly start?: PromptStart;
    readonly capture?: RowCapture;
  },
): Promise<void> {
  const { sequence, promptSequences, onLogits, start, capture, ...events } = options;
  const observers = observersOf(promptSequences, ({ largeScores }) => largeScores);
  const summed = observers.filter(({ scores }) => scores.needsSums);
  const sequences = promptSequences.map(({ index }) => index);
  await runParts(
    session,
    promptParts(tokens, readersOf(observers, tokens.length, capture), start?.tokens),
    {
      ...events,
      sequence,
      observers,
      tokens,
      isSummed: summed.length > 0,
      isChosen: true,
      ...(onLogits && { onLogits: (row: Float32Array) => onLogits(row, sequences) }),
    },
  );
  const sums = summed.length > 0 ? await session.accumulated(sequence) : undefined;
  for (const { scores } of summed) scores.startFromSums(sums!);
  const readers = observers.filter(({ scores }) => scores.readsVectors);
  if (readers.length === 0) return;
  const range = { sequence, from: 0, to: session.lengths[sequence]! };
  const vectors = await readVectors(session.forward, range);
  for (const { scores } of readers) scores.addVectors(vectors);
}

/** Scores of the sequences that begin with a prompt, by one of the models. */
function observersOf(
  promptSequences: readonly PromptSequence[],
  scoresOf: (sequence: PolicySequence) => HostScores | undefined,
): Observer[] {
  return promptSequences.flatMap(({ sequence }) => {
    const scores = scoresOf(sequence);
    return scores ? [{ scores, promptRows: sequence.promptRows }] : [];
  });
}

/** Events of one model's run. */
export type PartEvents = Omit<PromptEvents, "onProgress"> & Pick<PrefillOptions, "exactSums"> & {
  readonly onProgress?: (done: number) => void;
};

/** Scores of the tokens of a text that the session has run; its rows are already summed if all count the same. */
async function smallScores(
  small: SmallSession,
  tokens: readonly number[],
  { sequence, kinds, start }: {
    readonly sequence: number;
    readonly kinds: readonly ScoreKind[];
    readonly start?: PromptStart;
  },
): Promise<SmallModelState["scores"]> {
  const scores = new Map<string, Float32Array>();
  for (const kind of kinds.filter((kind) => countsAll(kind, tokens))) {
    scores.set(scoreKey(kind), await small.accumulated(sequence));
  }
  for (const kind of kinds.filter((kind) => !countsAll(kind, tokens))) {
    const isWhole = kind.rows >= tokens.length;
    const first = isWhole ? start?.tokens ?? 0 : tokens.length - kind.rows;
    await goBack(small, tokens, { sequence, length: first });
    small.clearAccumulated(isWhole ? start?.sums.get(scoreKey(kind)) : undefined);
    await small.prefill(tokens.slice(first), { sequence, logits: "none", rowDecay: kind.decay });
    scores.set(scoreKey(kind), await small.accumulated(sequence));
  }
  return scores;
}

/** Goes back to the beginning of a text that a sequence has run; where layers have lost what that sees, runs it again. */
async function goBack(
  session: SmallSession,
  tokens: readonly number[],
  { sequence, length }: { readonly sequence: number; readonly length: number },
): Promise<void> {
  if (session.canRewind(length, sequence)) return session.rewind(length, sequence);
  session.rewind(0, sequence);
  await session.prefill(tokens.slice(0, length), { sequence, logits: "none", isSummed: false });
}

/** Whether all rows of a text count the same. */
function countsAll({ decay, rows }: ScoreKind, tokens: readonly number[]): boolean {
  return decay === 1 && rows >= tokens.length;
}

/** The scores that policies need, each kind once. */
export function kindsOf(policies: readonly ResolvedPolicy[], needsSums: boolean): ScoreKind[] {
  const kinds = [
    ...needsSums ? [PLAIN_SCORES] : [],
    ...policies.filter(isDeviceScore).map(scoreKind),
  ];
  return [...new Map(kinds.map((kind) => [scoreKey(kind), kind])).values()];
}

/** Events of a prompt's run. */
export interface PromptEvents {
  /** Receives the logits of the prompt's last row, [1, vocabulary], and the sequences that continue from them. */
  readonly onLogits?: (logits: Float32Array, sequences: readonly number[]) => void;
  /** Called with the tokens done so far and their total, both models together. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Stops between chunks. */
  readonly signal?: AbortSignal;
}

/** A sequence that begins with a prompt. */
export interface PromptSequence {
  /** Sequence of the large model. */
  readonly index: number;
  /** Sequence of the small model; absent without a small model. */
  readonly smallSequence: number | undefined;
  /** Its state. */
  readonly sequence: PolicySequence;
}

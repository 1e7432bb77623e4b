/**
 * Answers to many prompts under many settings: the way of benchmarks, where each item is answered by every policy.
 *
 * @see docs/method.md, "Answers under many settings"
 * @module
 */

import { checkInteger, RequirementError } from "../../core/check.ts";
import { checkCut, checkPair } from "../engine/checks.ts";
import { wholeCapacity } from "../engine/parts.ts";
import type { PromptSetting } from "../engine/prompt_beginnings.ts";
import { PromptRunner } from "../engine/prompt_runner.ts";
import {
  fittingSequences,
  type PolicySetting,
  promptSetting,
  settingBatches,
} from "../engine/settings.ts";
import { sequenceBytes, smallRunKey, smallSequenceBytes } from "../engine/sequence_bytes.ts";
import type { ModelPair } from "../engine/types.ts";
import { checkMatching } from "../scoring/head_matching.ts";
import { checkFit } from "../scoring/map_fitting.ts";
import { sequenceSettings } from "../selection/sequence_settings.ts";
import { memoryAdvice } from "../session/memory_advice.ts";
import { defaultChunk } from "../session/pace.ts";
import { AnswerBatch } from "./answer_batch.ts";
import { AnswerSource } from "./answer_source.ts";
import { endTokensOf, type WriterEnd } from "./loop.ts";

/** A prompt that is answered under several settings. */
export interface AnswerRequest {
  /** Whatever the caller knows it by. */
  readonly key: string;
  /** First tokens, which consecutive requests may share, as a few-shot header or a document; may be empty. */
  readonly prefix: readonly number[];
  /**
   * What is answered, at least one turn: the tokens after the prefix first, at least one; then those of further turns of
   * the user, each of which follows the answer to the one before. A further turn begins with what a template puts after an
   * answer; a token that only ended the answer is not run.
   */
  readonly turns: readonly (readonly number[])[];
  /**
   * When a policy first drops tokens: after the first turn, or after the prefix, so that the turn is read under the policy
   * as further turns are. The former if left out; the latter needs a prefix.
   */
  readonly compressAfter?: "prompt" | "prefix";
  /** Strings that end an answer and are left out of it. */
  readonly stopTexts: readonly string[];
  /** Tells from the text of the last turn's answer so far whether it is known well enough to end; never if left out. */
  readonly isSettled?: (text: string) => boolean;
  /** Most new tokens per turn. */
  readonly maxTokens: number;
  /** Indices of the settings that are wanted; others may be known already. */
  readonly settings: readonly number[];
}

/** What ends an answer: what ends any text, or the request, which has seen enough. */
export type AnswerEnd = WriterEnd | "settled";

/** Answer to one turn. */
export interface AnsweredTurn {
  /** New token ids, including one that ended it. */
  readonly tokens: readonly number[];
  /** New text, without special tokens; empty without a tokenizer. */
  readonly text: string;
  /** Why it ended. */
  readonly end: AnswerEnd;
}

/** A request's answer under one setting. */
export interface Answer {
  /** Key of the request. */
  readonly key: string;
  /** Index of the setting. */
  readonly setting: number;
  /** Answer to each turn. */
  readonly turns: readonly AnsweredTurn[];
  /** Tokens of the prefix and the first turn. */
  readonly promptTokens: number;
  /**
   * This answer's share of the time that passed: of running its prompt, which is divided among the settings that were wanted,
   * and of every step, which is divided among the sequences that ran in it.
   */
  readonly seconds: { readonly prompt: number; readonly decode: number };
  /** Tokens of prompts, turns and answers that have been in the cache; the newest one has not. */
  readonly cachedTokens: number;
  /** Bytes of keys and values at the end, by counting the tokens kept; see `PolicyMemory`. */
  readonly bytes: { readonly large: number; readonly small: number; readonly host: number };
}

/** How far a run has come. */
export interface AnswerProgress {
  /** Tokens of prompts that have been run, by the large model; shared ones count once. */
  readonly promptTokens: number;
  /** Tokens that have been decoded, including those of unfinished answers. */
  readonly newTokens: number;
  /** Decoded tokens over the time of decode steps; 0 before the first. */
  readonly tokensPerSecond: number;
  /** Sequences that are being answered. */
  readonly busy: number;
  /** Sequences that take memory. */
  readonly slots: number;
}

/** How requests are answered. */
export interface AnswerAllOptions {
  /** Policies, choices, budgets. */
  readonly settings: readonly PolicySetting[];
  /** The requests; those that share a prefix should follow each other. */
  readonly requests: Iterable<AnswerRequest> | AsyncIterable<AnswerRequest>;
  /** Tokens that fit per sequence: prompt, answers and further turns. */
  readonly capacity: number;
  /** Most sequences that decode side by side; as many as memory allows if left out. */
  readonly slots?: number;
  /**
   * Bytes that caches may take in addition to the weights; if left out, four gibibytes, or less where the device has less
   * room.
   */
  readonly maxBytes?: number;
  /** Rows of one prefill step, and what shared prefixes are cut to a multiple of; if left out, 512 on GPUs and 128 elsewhere. */
  readonly chunk?: number;
  /** Stops before the next step with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called after each prompt and each step. */
  readonly onProgress?: (progress: AnswerProgress) => void;
}

/**
 * Answers every request under its settings, greedily; each answer has the tokens that `generate` gives for the prompt alone.
 *
 * @param pair Models; the small one may be left out if no policy uses it.
 * @param options Settings, requests, limits, events.
 * @returns Answers in the order in which they end.
 * @throws {RequirementError} If a setting is not allowed, or a request does not fit; where requests are an array, before
 *   anything is run.
 * @throws {DataError} If the models do not share a vocabulary.
 * @throws {GpuError} If the device runs out of memory.
 */
export async function* answerAll(
  pair: ModelPair,
  options: AnswerAllOptions,
): AsyncGenerator<Answer> {
  const { requests, signal, slots } = options;
  if (slots !== undefined) checkInteger("answer prompts", "slots", { value: slots, min: 1 });
  const settings = options.settings.map((setting) => checkedSetting(pair, setting));
  const check = (request: AnswerRequest) => checkRequest(request, { ...options, pair });
  if (Array.isArray(requests)) requests.forEach(check);
  if (settings.length === 0) return;
  const totals = { promptTokens: 0, newTokens: 0 };
  const { maxBytes = roomOf(pair), chunk = defaultChunk(pair.large.device.info) } = options;
  const capacity = wholeCapacity(options.capacity);
  try {
    using runner = new PromptRunner(pair, { settings, capacity, chunk });
    await using source = new AnswerSource(requests, runner, {
      ...{ check, maxBytes: PROMPT_SHARE * maxBytes, ...(signal && { signal }) },
      onPrompt(tokens) {
        totals.promptTokens += tokens;
      },
    });
    using stack = new DisposableStack();
    const batches = settingBatches(options.settings, settings.length).map((family) =>
      stack.use(
        new AnswerBatch(pair, {
          ...{ family, settings, capacity, chunk, endTokens: new Set(endTokensOf(pair.large)) },
          ...(signal && { signal }),
        }),
      )
    );
    const most = slots ?? fittingSlots(pair, { capacity, maxBytes, settings: options.settings });
    yield* runBatches(batches, source, { ...options, most, totals });
  } catch (error) {
    throw memoryAdvice(error);
  }
}

/**
 * Runs steps of all batches until nothing is left. One batch at a time takes items, so that it has all the sequences that
 * there may be: rows of a step share the reading of the weights, those of several batches do not.
 */
async function* runBatches(
  batches: readonly AnswerBatch[],
  source: AnswerSource,
  { most, totals, signal, onProgress }: Pick<AnswerAllOptions, "signal" | "onProgress"> & {
    readonly most: number;
    readonly totals: { promptTokens: number; newTokens: number };
  },
): AsyncGenerator<Answer> {
  let [decoded, seconds, taking] = [0, 0, 0];
  const allSlots = () => batches.reduce((sum, { slots }) => sum + slots, 0);
  while (allSlots() > 0 || !source.isDone) {
    const first = taking;
    for (const [index, batch] of batches.entries()) {
      signal?.throwIfAborted();
      const free = most - allSlots() + batch.slots;
      const isTaking = index === first && free > 0;
      const step = await batch.step(isTaking ? { source, most: free } : undefined);
      if (isTaking && !step.isFull) taking = (first + 1) % batches.length;
      totals.newTokens += step.newTokens;
      decoded += step.busy;
      seconds += step.seconds;
      const tokensPerSecond = decoded > 0 ? decoded / seconds : 0;
      const busy = batches.reduce((sum, { busy }) => sum + busy, 0);
      onProgress?.({ ...totals, tokensPerSecond, busy, slots: allSlots() });
      yield* step.answers;
    }
  }
}

/** Share of the bytes that prompts may take which wait for sequences to end. */
const PROMPT_SHARE = 0.25;
/** Bytes over those of a batch while three quarters of its sequences move to another one. */
const MOVING_FACTOR = 1.75;
const MOST_BYTES = 4 * 2 ** 30;

/** Bytes that caches may take where no limit is given. */
function roomOf({ large: { device: { info, usage } } }: ModelPair): number {
  const free = (info.maxBytes ?? Infinity) - usage.liveBytes;
  return Math.min(MOST_BYTES, free);
}

/**
 * Counts the sequences that fit beside the two that run prompts, and beside prompts that wait.
 *
 * @param pair Models.
 * @param sizes Tokens that fit, bytes of everything, settings of the sequences.
 * @returns At least 1.
 * @internal
 */
export function fittingSlots(
  pair: ModelPair,
  { capacity, maxBytes, settings }: {
    readonly capacity: number;
    readonly maxBytes: number;
    readonly settings: readonly PolicySetting[];
  },
): number {
  const bytes = (1 - PROMPT_SHARE) * maxBytes / MOVING_FACTOR -
    promptRunBytes(pair, capacity, settings);
  const sizes = { bytes, hasOwnSmallModel: true, settings };
  return fittingSequences(pair, capacity, sizes);
}

/**
 * Bytes of the caches that run prompts: two sequences of each model, which hold all tokens, and of the small one two for each
 * of its cuts.
 */
function promptRunBytes(
  { large, small }: ModelPair,
  capacity: number,
  settings: readonly PolicySetting[],
): number {
  const cuts = new Map(settings.map((setting) => {
    const resolved = promptSetting(setting);
    const bytes = small ? smallSequenceBytes(small, capacity, resolved, true) : 0;
    return [smallRunKey(small, resolved), bytes];
  }));
  const one = sequenceBytes(large, capacity, true) +
    cuts.values().reduce((sum, bytes) => sum + bytes, 0);
  return 2 * one;
}

/** Resolves a setting; throws unless the pair can decode under it. */
function checkedSetting(pair: ModelPair, setting: PolicySetting): PromptSetting {
  const resolved = promptSetting(setting);
  checkMatching(resolved.match ?? {});
  checkFit(resolved.match ?? {}, [resolved.policy]);
  checkPair(pair, resolved.policy);
  checkCut([resolved], resolved, pair.small);
  sequenceSettings({ settings: [resolved] });
  return resolved;
}

/** Throws unless a request can be answered. */
function checkRequest(
  request: AnswerRequest,
  options: Pick<AnswerAllOptions, "settings" | "capacity"> & { readonly pair: ModelPair },
): void {
  const { key, prefix, turns, maxTokens, settings } = request;
  const action = `answer ${key}`;
  checkInteger(action, "maxTokens", { value: maxTokens, min: 1 });
  checkInteger(action, "turns", { value: turns.length, min: 1 });
  for (const turn of turns) {
    checkInteger(action, "tokens of a turn", { value: turn.length, min: 1 });
  }
  if (request.compressAfter === "prefix") {
    checkInteger(action, "tokens of the prefix", { value: prefix.length, min: 1 });
  }
  const last = options.pair.large.config.vocabulary - 1;
  for (const value of [...prefix, ...turns.flat()]) {
    checkInteger(action, "token id", { value, min: 0, max: last });
  }
  const max = options.settings.length - 1;
  for (const value of settings) checkInteger(action, "setting", { value, min: 0, max });
  const given = prefix.length + turns.reduce((sum, turn) => sum + turn.length, 0);
  const written = turns.length * maxTokens;
  if (given + written <= options.capacity) return;
  throw new RequirementError({
    action,
    requirement: `its prompts and answers must fit the capacity, ${options.capacity}`,
    state: `value is ${given} + ${turns.length} x ${maxTokens}`,
  });
}

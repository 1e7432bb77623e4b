/**
 * Text generation under a cache policy, token by token.
 *
 * @module
 */

import { checkInteger } from "../../core/check.ts";
import {
  type CompressionOptions,
  type DraftOptions,
  generationMemory,
  openSession,
  setUpGeneration,
  tierCounter,
} from "./setup.ts";
import {
  type GenerationMemory,
  type GenerationStatistics,
  StatisticsRecorder,
} from "./statistics.ts";
import { memoryAdvice } from "../session/memory_advice.ts";
import type { ModelPair, StepReport } from "../engine/types.ts";
import type { PolicySession } from "../engine/policy_session.ts";
import type { Prompt } from "./prompts.ts";
import { endTokensOf, type GeneratedToken, SequenceWriter } from "./writer.ts";
import type { Migration } from "../../cache/kv_store.ts";
import type { Selection } from "../../cache/policy.ts";
import type { SpeculationStatistics } from "../engine/speculative_types.ts";
import type { TierSizes } from "../selection/tiers.ts";

/** How text is generated. */
export interface GenerateOptions extends CompressionOptions, DraftOptions {
  /** Most new tokens per prompt; 64 if left out. */
  readonly maxNewTokens?: number;
  /** Tokens that end a text; all that the large model knows as such if left out. */
  readonly stopTokens?: readonly number[];
  /** Texts that end a text and are left out of it. */
  readonly stopTexts?: readonly string[];
  /**
   * Whether steps and statistics say what was selected and moved; true if left out. Where the device selects, that has to
   * be read back at every step.
   */
  readonly hasSelections?: boolean;
  /** Ends the generation: memory is freed and the iterator ends without an error. */
  readonly signal?: AbortSignal;
  /** Called after every decode step with tokens, tiers and migration. */
  readonly onStep?: (step: GenerationStep) => void;
  /** Called while prompts are read, with the share that is done. */
  readonly onPrefill?: (share: number) => void;
}

/** Everything that was generated. */
export interface Generation {
  /** One entry per prompt. */
  readonly sequences: readonly {
    /** New token ids; the last one may be a token that ends a text. */
    readonly tokens: readonly number[];
    /** New text. */
    readonly text: string;
  }[];
  /** Times, bytes, tiers. */
  readonly statistics: GenerationStatistics;
}

/** New tokens of a generation that names no number. */
export const DEFAULT_NEW_TOKENS = 64;

/**
 * Generates greedily, all prompts together, and yields each token as it comes.
 *
 * Caches and activations are allocated when the first token is asked for, and freed when the iterator ends, is left
 * early, throws, or its signal aborts.
 *
 * @example
 * ```ts ignore
 * for await (const { text } of generate({ large, small }, "Once", { policy: "smallkv", budget: 0.2 })) {
 *   await Deno.stdout.write(new TextEncoder().encode(text));
 * }
 * ```
 * @param pair Models; the small one may be left out where the policy has no helper.
 * @param prompt A text, token ids or messages of a chat; or several of these, generated as one batch.
 * @param options Policy, budget, ends, events.
 * @returns Tokens in order of step and sequence; statistics at the end.
 * @throws {RangeError} If a choice is not allowed or the prompt does not fit.
 * @throws {DataError} If the models do not share a vocabulary, or a prompt needs what the model lacks.
 * @throws {GpuError} If the device runs out of memory, or a model yields what is no number.
 */
export async function* generate(
  pair: ModelPair,
  prompt: Prompt | readonly Prompt[],
  options: GenerateOptions = {},
): AsyncGenerator<GeneratedToken, GenerationStatistics> {
  const { maxNewTokens = DEFAULT_NEW_TOKENS, stopTexts = [], signal, onStep, onPrefill } = options;
  checkInteger("generate", "maxNewTokens", { value: maxNewTokens, min: 1 });
  const recorder = new StatisticsRecorder();
  const setup = setUpGeneration(pair, prompt, { ...options, newTokens: maxNewTokens });
  const { tokenizer } = pair.large;
  const stopTokens = new Set(options.stopTokens ?? endTokensOf(pair.large));
  try {
    using session = openSession(setup, options);
    return yield* generationLoop(session, setup.prompts, {
      writers: setup.prompts.map((tokens, sequence) =>
        new SequenceWriter({
          sequence,
          prompt: tokens,
          maxNewTokens,
          stopTokens,
          stopTexts,
          ...(tokenizer && { tokenizer }),
        })
      ),
      tiersOf: tierCounter(setup),
      memory: (hasCache) => generationMemory(setup.pair, hasCache ? session : undefined),
      recorder,
      hasSelections: options.hasSelections ?? true,
      ...(signal && { signal }),
      ...(onStep && { onStep }),
      ...(onPrefill && { onPrefill }),
    });
  } catch (error) {
    throw memoryAdvice(error);
  }
}

/**
 * Generates to the end.
 *
 * @param pair Models.
 * @param prompt One prompt or several.
 * @param options Policy, budget, ends, events; `onToken` sees each token as it comes.
 * @returns Tokens and text of each prompt, and statistics.
 * @throws {RangeError} If a choice is not allowed or the prompt does not fit.
 */
export async function generateAll(
  pair: ModelPair,
  prompt: Prompt | readonly Prompt[],
  options: GenerateOptions & { readonly onToken?: (token: GeneratedToken) => void } = {},
): Promise<Generation> {
  const tokens = generate(pair, prompt, options);
  const sequences: { tokens: number[]; text: string }[] = [];
  while (true) {
    const { value, done } = await tokens.next();
    if (done) {
      const { length } = value.promptTokens;
      while (sequences.length < length) sequences.push({ tokens: [], text: "" });
      return { sequences, statistics: value };
    }
    options.onToken?.(value);
    const sequence = sequences[value.sequence] ??= { tokens: [], text: "" };
    sequence.tokens.push(value.tokenId);
    sequence.text += value.text;
  }
}

/** What a generation needs of a session. */
export type DecodingSession = Pick<PolicySession, "prefill" | "nextTokens" | "step"> & {
  /** What drafts have come to, if there are any. */
  readonly speculation?: SpeculationStatistics;
};

/** What a decode step did. */
export interface GenerationStep {
  /** Which one; the first is 1, and its attention sees prompt + 1 tokens. */
  readonly step: number;
  /** Tokens of each sequence that its attention could have seen. */
  readonly tokens: readonly number[];
  /** Next token of each sequence. */
  readonly chosen: readonly number[];
  /** Tokens per tier of each sequence, mean over selections; empty, as all that follows from selections, if not asked for. */
  readonly tiers: readonly TierSizes[];
  /** Share of each sequence's selected tokens that were not selected before. */
  readonly churn: readonly number[];
  /** Bytes brought from the host to the device. */
  readonly loadedBytes: number;
  /** All that moved between host and device; absent where each query head selects alone. */
  readonly migration?: Migration;
  /** Tokens that its attention saw, [sequence][unit]. */
  readonly selections: readonly (readonly Selection[])[];
  /** Tokens kept after it, where the policy drops them then, [sequence][unit]. */
  readonly after?: readonly (readonly Selection[])[];
  /** Logits after it, [sequences, vocabulary], if asked for. */
  readonly logits?: Float32Array;
}

/** How sequences are generated. */
export interface LoopOptions {
  /** One writer per prompt. */
  readonly writers: readonly SequenceWriter[];
  /** Counts the tokens per tier of a sequence's selections. */
  readonly tiersOf: (selections: readonly Selection[], place: SequencePlace) => TierSizes;
  /** Bytes, asked for at the end; of the models alone where the prompts were not read to their end. */
  readonly memory: (hasCache: boolean) => Promise<GenerationMemory>;
  /** Of a further turn: what came before it. */
  readonly history?: TurnHistory;
  /** Started when the prompts came in. */
  readonly recorder: StatisticsRecorder;
  /** Ends the generation before its next step or prefill chunk. */
  readonly signal?: AbortSignal;
  /** Whether steps report selections, tiers, churn and migration; true if left out. */
  readonly hasSelections?: boolean;
  /** Called after every step. */
  readonly onStep?: (step: GenerationStep) => void;
  /** Called while prompts are read, with the share that is done. */
  readonly onPrefill?: (share: number) => void;
}

/** What a turn follows. */
export interface TurnHistory {
  /** Tokens before it. */
  readonly tokens: number;
  /** Tokens of the first prompt, which a budget may be a share of. */
  readonly promptTokens: number;
}

/** A sequence at a step. */
export interface SequencePlace {
  /** Tokens that the step's attention could have seen. */
  readonly tokens: number;
  /** Tokens of its prompt. */
  readonly promptTokens: number;
}

/**
 * Generates tokens.
 *
 * @param session Session with room for the prompts and the new tokens.
 * @param prompts Token ids, one list per sequence.
 * @param options Ends, events, signal.
 * @returns New tokens in order of step and sequence, then statistics; a signal ends it early without an error.
 */
export async function* generationLoop(
  session: DecodingSession,
  prompts: readonly (readonly number[])[],
  options: LoopOptions,
): AsyncGenerator<GeneratedToken, GenerationStatistics> {
  const { writers, recorder, signal, hasSelections = true } = options;
  let hasCache = false;
  const finish = async (isAborted: boolean) =>
    recorder.finish({
      promptTokens: prompts.map(({ length }) => length),
      newTokens: writers.map(({ count }) => count),
      memory: await options.memory(hasCache),
      ...(session.speculation && { speculation: session.speculation }),
      isAborted,
    });
  try {
    await prefillAll(session, prompts, options);
    hasCache = true;
    let chosen: readonly number[] = await session.nextTokens();
    recorder.first();
    for (let step = 1;; step++) {
      for (const [sequence, writer] of writers.entries()) {
        if (!writer.isDone) yield writer.push(chosen[sequence]!);
      }
      if (writers.every(({ isDone }) => isDone)) return await finish(false);
      signal?.throwIfAborted();
      const seen = await session.step({ hasSelections });
      const report = describeStep(seen, { step, prompts, ...options });
      recorder.step(report);
      options.onStep?.(report);
      chosen = report.chosen;
    }
  } catch (error) {
    if (signal?.aborted && error === signal.reason) return await finish(true);
    throw error;
  }
}

/**
 * Reads every prompt.
 *
 * @param session Session without tokens.
 * @param prompts Token ids, one list per sequence.
 * @param options Signal, progress.
 */
export async function prefillAll(
  session: DecodingSession,
  prompts: readonly (readonly number[])[],
  options: Pick<LoopOptions, "signal" | "onPrefill"> & {
    readonly onLogits?: (sequence: number, logits: Float32Array) => void;
  },
): Promise<void> {
  const { signal, onPrefill, onLogits } = options;
  for (const [sequence, tokens] of prompts.entries()) {
    signal?.throwIfAborted();
    await session.prefill(tokens, {
      sequence,
      ...(signal && { signal }),
      ...(onLogits && { onLogits: (logits: Float32Array) => onLogits(sequence, logits) }),
      onProgress: (done, total) => onPrefill?.((sequence + done / total) / prompts.length),
    });
  }
}

/**
 * Adds to a session's report what the prompts and the policy say about it.
 *
 * @param report What the session says.
 * @param context Number of the step, prompts, how tiers are counted.
 * @returns The step.
 */
export function describeStep(
  report: StepReport,
  context: Pick<LoopOptions, "tiersOf" | "history"> & {
    readonly step: number;
    readonly prompts: readonly (readonly number[])[];
  },
): GenerationStep {
  const { step, prompts, tiersOf, history } = context;
  const tokens = prompts.map(({ length }) => (history?.tokens ?? 0) + length + step);
  const { keyBytes = 0, valueBytes = 0 } = report.migration ?? {};
  return {
    ...report,
    step,
    tokens,
    loadedBytes: keyBytes + valueBytes,
    tiers: report.selections.map((selections, sequence) =>
      tiersOf(selections, {
        tokens: tokens[sequence]!,
        promptTokens: history?.promptTokens ?? prompts[sequence]!.length,
      })
    ),
  };
}

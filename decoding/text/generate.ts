/**
 * Text generation under a cache policy, token by token.
 *
 * @module
 */

import { checkInteger } from "../../core/check.ts";
import { tierCounter } from "../selection/tiers.ts";
import {
  type CompressionOptions,
  type DraftOptions,
  generationMemory,
  openSession,
  setUpGeneration,
} from "./setup.ts";
import {
  endTokensOf,
  type GeneratedToken,
  generationLoop,
  type GenerationStep,
  SequenceWriter,
  StatisticsRecorder,
} from "./loop.ts";
import { Sampler, type SamplingOptions } from "./sampling.ts";
import { StepsAhead } from "./steps_ahead.ts";
import type { GenerationStatistics } from "./statistics.ts";
import { memoryAdvice } from "../session/memory_advice.ts";
import type { ModelPair } from "../engine/types.ts";
import type { Prompt } from "./prompts.ts";

/** How text is generated. */
export interface GenerateOptions extends CompressionOptions, DraftOptions {
  /** Most new tokens per prompt; 64 if left out. */
  readonly maxNewTokens?: number;
  /** Tokens that end a text; the large model's end tokens if left out. */
  readonly stopTokens?: readonly number[];
  /** Strings that end a text and are left out of it. */
  readonly stopTexts?: readonly string[];
  /** How tokens are drawn; the likeliest one is always chosen if left out. Not with drafts. */
  readonly sampling?: SamplingOptions;
  /**
   * Whether steps and statistics report what was selected and moved; true if left out. Where the device selects, this
   * requires a readback at every step.
   */
  readonly hasSelections?: boolean;
  /**
   * Most decode steps that run before their tokens are read, which come together then, where nothing of a step is needed on
   * the host; 1 reads after each. It changes no token. If left out, 16 on WebGPU, though only as many as take a quarter of a
   * second, and 1 elsewhere.
   */
  readonly ahead?: number;
  /** Ends the generation when aborted: memory is freed and the iterator ends without an error. */
  readonly signal?: AbortSignal;
  /** Called after every decode step with tokens, tiers and migration. */
  readonly onStep?: (step: GenerationStep) => void;
  /** Called while prompts are read, with the share done so far. */
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

/** Most new tokens of a generation if no number is given. */
export const DEFAULT_NEW_TOKENS = 64;

/**
 * Generates all prompts together, greedily unless `sampling` is given, and yields each token as soon as it is chosen.
 *
 * Caches and activations are allocated when the first token is requested, and freed when the iterator ends, is left early,
 * throws, or its signal aborts.
 *
 * @example
 * ```ts ignore
 * for await (const { text } of generate({ large, small }, "Once", { policy: "smallkv", budget: 0.2 })) {
 *   await Deno.stdout.write(new TextEncoder().encode(text));
 * }
 * ```
 * @param pair Models; the small one may be left out if the policy does not use it.
 * @param prompt A text, token ids or messages of a chat; or several of these, generated as one batch.
 * @param options Policy, budget, limits, events.
 * @returns Tokens in order of step and sequence; statistics at the end.
 * @throws {RequirementError} If a choice is not allowed or the prompt does not fit.
 * @throws {DataError} If the models do not share a vocabulary, or a prompt needs what the model lacks.
 * @throws {GpuError} If the device runs out of memory, or a model computes values that are not finite.
 */
export async function* generate(
  pair: ModelPair,
  prompt: Prompt | readonly Prompt[],
  options: GenerateOptions = {},
): AsyncGenerator<GeneratedToken, GenerationStatistics> {
  const { maxNewTokens = DEFAULT_NEW_TOKENS, stopTexts = [], signal, onStep, onPrefill } = options;
  const { sampling } = options;
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
      ...(sampling && { samplers: setup.prompts.map(() => new Sampler(sampling)) }),
      tiersOf: tierCounter({ ...setup, config: pair.large.config }),
      memory: (hasCache) => generationMemory(setup.pair, hasCache ? session : undefined),
      recorder,
      hasSelections: options.hasSelections ?? true,
      ahead: new StepsAhead(pair.large.device.info, options.ahead),
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
 * @param options Policy, budget, limits, events; `onToken` receives each token as soon as it is chosen.
 * @returns Tokens and text of each prompt, and statistics.
 * @throws {RequirementError} If a choice is not allowed or the prompt does not fit.
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

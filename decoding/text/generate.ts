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
import { generationLoop, type GenerationStep, StatisticsRecorder } from "./loop.ts";
import type { GenerationStatistics } from "./statistics.ts";
import { memoryAdvice } from "../session/memory_advice.ts";
import type { ModelPair } from "../engine/types.ts";
import type { Prompt } from "./prompts.ts";
import { endTokensOf, type GeneratedToken, SequenceWriter } from "./writer.ts";

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
 * @param pair Models; the small one may be left out where the policy has no small model.
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
      tiersOf: tierCounter({ ...setup, config: pair.large.config }),
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

/**
 * Runs a session that decodes under a policy until every sequence has ended.
 *
 * @module
 */

import type { GenerationMemory, GenerationStatistics } from "./statistics.ts";
import type { PolicySession } from "../engine/policy_session.ts";
import type { Selection } from "../../cache/policy.ts";
import type { SequencePlace, TierSizes } from "../selection/tiers.ts";
import type { SpeculationStatistics } from "../engine/speculative_types.ts";
import type { StepReport } from "../engine/types.ts";
import type { Sampler } from "./sampling.ts";
import type { StepsAhead } from "./steps_ahead.ts";
import { mean, median } from "../../core/stats.ts";
import {
  createTextStream,
  type TextStream,
  type Tokenizer,
} from "../../models/tokenizer/tokenizer.ts";
import { endTokenIds } from "../../models/tokenizer/chat_template.ts";
import type { Model } from "../../models/load.ts";

/** The parts of a session that a generation uses. */
export type DecodingSession = Pick<PolicySession, "prefill" | "nextTokens" | "step"> & {
  /** Totals over drafts, if there are any. */
  readonly speculation?: SpeculationStatistics;
};

/** What a decode step did. */
export interface GenerationStep extends StepReport {
  /** Number of the step; the first is 1, and its attention sees prompt + 1 tokens. */
  readonly step: number;
  /** Tokens of each sequence that its attention could have seen. */
  readonly tokens: readonly number[];
  /** Tokens per tier of each sequence, mean over selections; empty if selections are not requested. */
  readonly tiers: readonly TierSizes[];
  /** Bytes brought from the host to the device; 0 at the first step, which only places what is kept of the prompt. */
  readonly loadedBytes: number;
}

/** How sequences are generated. */
export interface LoopOptions {
  /** One writer per prompt. */
  readonly writers: readonly SequenceWriter[];
  /** Draws the tokens of each sequence; without them the likeliest one is always chosen. */
  readonly samplers?: readonly Sampler[];
  /** Counts the tokens per tier of a sequence's selections. */
  readonly tiersOf: (selections: readonly Selection[], place: SequencePlace) => TierSizes;
  /** Reads bytes at the end; those of the models alone if the prompts were not read to their end. */
  readonly memory: (hasCache: boolean) => Promise<GenerationMemory>;
  /** For a further turn: what came before it. */
  readonly history?: TurnHistory;
  /** Started when the prompts arrived. */
  readonly recorder: StatisticsRecorder;
  /** Ends the generation before its next step or prefill chunk. */
  readonly signal?: AbortSignal;
  /** Whether steps report selections, tiers, churn and migration; true if left out. */
  readonly hasSelections?: boolean;
  /** Says how many steps may run before their tokens are read; one if left out. */
  readonly ahead?: StepsAhead;
  /** Called after every step. */
  readonly onStep?: (step: GenerationStep) => void;
  /** Called while prompts are read, with the share done so far. */
  readonly onPrefill?: (share: number) => void;
}

/** What a turn follows. */
interface TurnHistory {
  /** Tokens before it. */
  readonly tokens: number;
  /** Tokens of the first prompt, since a budget may be a share of it. */
  readonly promptTokens: number;
}

/**
 * Generates tokens.
 *
 * @param session Session with room for the prompts and the new tokens.
 * @param prompts Token ids, one list per sequence.
 * @param options Writers, events, signal.
 * @returns New tokens in order of step and sequence, then statistics; a signal ends it early without an error.
 */
export async function* generationLoop(
  session: DecodingSession,
  prompts: readonly (readonly number[])[],
  options: LoopOptions,
): AsyncGenerator<GeneratedToken, GenerationStatistics> {
  const { writers, samplers, recorder, signal, ahead, hasSelections = true } = options;
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
    const drawn: number[] = [];
    await prefillAll(session, prompts, {
      ...options,
      ...(samplers && {
        onLogits: (sequence, logits) => drawn[sequence] = samplers[sequence]!.choose(logits),
      }),
    });
    hasCache = true;
    let chosen: readonly number[] = samplers ? drawn : await session.nextTokens();
    recorder.first();
    for (let step = 1;; step++) {
      for (const [sequence, writer] of writers.entries()) {
        if (!writer.isDone) yield writer.push(chosen[sequence]!);
      }
      if (writers.every(({ isDone }) => isDone)) return await finish(false);
      signal?.throwIfAborted();
      const run = () => session.step({ hasSelections, ahead: ahead?.steps(writers) ?? 1 });
      const seen = samplers
        ? draw(await session.step({ hasSelections, tokens: chosen, logits: true }), samplers)
        : await (ahead?.timed(run) ?? run());
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

/** Replaces the likeliest next tokens by drawn ones. */
function draw({ logits, ...report }: StepReport, samplers: readonly Sampler[]): StepReport {
  const size = logits!.length / samplers.length;
  const chosen = samplers.map((sampler, sequence) =>
    sampler.choose(logits!.subarray(sequence * size, (sequence + 1) * size))
  );
  return { ...report, chosen };
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
 * Adds lengths, tiers and loaded bytes to a session's report.
 *
 * @param report The session's report.
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
    loadedBytes: step === 1 ? 0 : keyBytes + valueBytes,
    tiers: report.selections.map((selections, sequence) =>
      tiersOf(selections, {
        tokens: tokens[sequence]!,
        promptTokens: history?.promptTokens ?? prompts[sequence]!.length,
      })
    ),
  };
}

/** Records times and figures while tokens are generated. */
export class StatisticsRecorder {
  readonly #now: () => number;
  readonly #start: number;
  /** When each step ended; steps that ran together share their time. */
  readonly #stepEnds: number[] = [];
  #steps = 0;
  #last: number | undefined;
  readonly #churn: number[] = [];
  readonly #loadedBytes: number[] = [];
  #tiers: readonly TierSizes[] = [];
  #first: number | undefined;

  /**
   * Starts the clock.
   *
   * @param now Clock, in milliseconds.
   */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#start = now();
  }

  /** Notes that the first token of every sequence is on the host. */
  first(): void {
    this.#first = this.#now();
  }

  /** Notes that a step's tokens are on the host; churn is empty if selections were not reported. */
  step(
    { churn, loadedBytes, tiers, stepsRun = 1 }: Pick<
      GenerationStep,
      "churn" | "loadedBytes" | "tiers" | "stepsRun"
    >,
  ): void {
    const before = this.#last ?? this.#first ?? this.#start;
    this.#last = this.#now();
    const eachMs = (this.#last - before) / stepsRun;
    for (let step = 1; step <= stepsRun; step++) this.#stepEnds.push(before + step * eachMs);
    this.#steps++;
    if (churn.length === 0) return;
    this.#churn.push(mean(churn));
    this.#loadedBytes.push(loadedBytes);
    this.#tiers = tiers;
  }

  /**
   * Computes the statistics.
   *
   * @param totals Figures that are known only at the end.
   * @returns All statistics.
   */
  finish(
    totals: Pick<
      GenerationStatistics,
      "promptTokens" | "newTokens" | "memory" | "speculation" | "isAborted"
    >,
  ): GenerationStatistics {
    const end = this.#now();
    const steps = this.#steps;
    const first = this.#first ?? end;
    const last = this.#last ?? first;
    const durations = this.#stepEnds.map((time, step) =>
      time - (this.#stepEnds[step - 1] ?? first)
    );
    const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
    const perSecond = (tokens: number, ms: number) => ms > 0 ? 1000 * tokens / ms : 0;
    const later = totals.newTokens.map((count) => Math.max(0, count - 1));
    return {
      ...totals,
      steps,
      ttftMs: first - this.#start,
      tpotMs: steps === 0 ? 0 : (last - first) / steps,
      stepMedianMs: steps === 0 ? 0 : median(durations),
      promptTokensPerSecond: this.#first === undefined
        ? 0
        : perSecond(sum(totals.promptTokens), first - this.#start),
      tokensPerSecond: perSecond(sum(later), last - first),
      ...(this.#churn.length > 0 && {
        tiers: meanTiers(this.#tiers),
        migratedBytesPerStep: mean(this.#loadedBytes.length > 1 ? this.#loadedBytes.slice(1) : [0]),
        churn: mean(this.#churn),
      }),
    };
  }
}

function meanTiers(tiers: readonly TierSizes[]): TierSizes {
  const meanOf = (tier: keyof TierSizes) => mean(tiers.map((sizes) => sizes[tier]));
  return {
    critical: meanOf("critical"),
    recent: meanOf("recent"),
    marginal: meanOf("marginal"),
    none: meanOf("none"),
  };
}

/** A new token. */
export interface GeneratedToken {
  /** Which prompt it continues, from 0. */
  readonly sequence: number;
  /** Its place among the new tokens, from 0. */
  readonly index: number;
  /** Its id. */
  readonly tokenId: number;
  /** Text that became certain with it: whole characters, without special tokens; may be empty. */
  readonly text: string;
}

/** What ends a sequence. */
export interface WriterOptions {
  /** Which prompt it continues. */
  readonly sequence: number;
  /** The prompt, which decides how the first token is spelled. */
  readonly prompt: readonly number[];
  /** Most new tokens. */
  readonly maxNewTokens: number;
  /** Tokens that end it; they count as new tokens and have no text. */
  readonly stopTokens: ReadonlySet<number>;
  /** Strings that end it and are left out. */
  readonly stopTexts: readonly string[];
  /** Without one there is no text. */
  readonly tokenizer?: Tokenizer;
}

/** What ends a sequence: a stop text, a token that ends a text, or the most new tokens. */
export type WriterEnd = "stop" | "end token" | "limit";

/** Writer of one sequence. */
export class SequenceWriter {
  readonly #options: WriterOptions;
  readonly #stream: TextStream | undefined;
  readonly #stops: StopTexts;
  #count = 0;
  #end: WriterEnd | undefined;

  /**
   * Starts after a prompt.
   *
   * @param options Sequence and what ends it.
   */
  constructor(options: WriterOptions) {
    const { tokenizer, prompt, stopTexts } = options;
    this.#options = options;
    this.#stops = new StopTexts(stopTexts);
    this.#stream = tokenizer && createTextStream(tokenizer, { skipSpecialTokens: true });
    for (const id of prompt) this.#stream?.push(id);
  }

  /** New tokens so far. */
  get count(): number {
    return this.#count;
  }

  /** Most tokens that may follow. */
  get left(): number {
    return this.isDone ? 0 : this.#options.maxNewTokens - this.#count;
  }

  /** Whether the sequence has ended. */
  get isDone(): boolean {
    return this.#end !== undefined;
  }

  /** What has ended the sequence, if anything has. */
  get end(): WriterEnd | undefined {
    return this.#end;
  }

  /**
   * Takes the next token.
   *
   * @param tokenId Its id.
   * @returns The token with its text.
   */
  push(tokenId: number): GeneratedToken {
    const { sequence, stopTokens, maxNewTokens } = this.#options;
    const isStop = stopTokens.has(tokenId);
    const piece = isStop ? "" : this.#stream?.push(tokenId) ?? "";
    const certain = this.#stops.push(piece);
    const index = this.#count++;
    if (isStop) this.#end = "end token";
    else if (this.#stops.isStopped) this.#end = "stop";
    else if (this.#count >= maxNewTokens) this.#end = "limit";
    const text = this.isDone ? certain + this.#stops.end() : certain;
    return { sequence, index, tokenId, text };
  }
}

/**
 * Lists every token that ends a text or a turn of a model.
 *
 * @param model The model.
 * @returns Token ids, ascending; only those of its configuration if it has no tokenizer.
 */
export function endTokensOf({ tokenizer, config }: Pick<Model, "tokenizer" | "config">): number[] {
  if (tokenizer) return endTokenIds(tokenizer, config.eosTokenIds);
  return [...new Set(config.eosTokenIds)].sort((a, b) => a - b);
}

/** Passes text on until a stop string appears, and holds back what may be its beginning. */
export class StopTexts {
  readonly #stops: readonly string[];
  #held = "";
  #isStopped = false;

  /**
   * Starts at the beginning of a text.
   *
   * @param stops Strings that end the output; empty ones never do.
   */
  constructor(stops: readonly string[] = []) {
    this.#stops = stops.filter((stop) => stop !== "");
  }

  /** Whether a stop string has appeared. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /**
   * Takes the next piece of text.
   *
   * @param piece Text in order.
   * @returns The part that is certain to come before any stop string.
   */
  push(piece: string): string {
    if (this.#isStopped) return "";
    const text = this.#held + piece;
    const places = this.#stops.map((stop) => text.indexOf(stop)).filter((place) => place >= 0);
    if (places.length > 0) {
      this.#isStopped = true;
      this.#held = "";
      return text.slice(0, Math.min(...places));
    }
    const held = Math.max(0, ...this.#stops.map((stop) => overlap(text, stop)));
    this.#held = text.slice(text.length - held);
    return text.slice(0, text.length - held);
  }

  /** Returns what was held back, once no stop string can follow. */
  end(): string {
    const text = this.#held;
    this.#held = "";
    return text;
  }
}

/** Length of the longest end of a text that is a beginning of a stop string. */
function overlap(text: string, stop: string): number {
  let length = Math.min(text.length, stop.length - 1);
  while (length > 0 && !text.endsWith(stop.slice(0, length))) length--;
  return length;
}

/**
 * Runs a session that decodes under a policy until every sequence has ended.
 *
 * @module
 */

import type { GeneratedToken, SequenceWriter } from "./writer.ts";
import type { GenerationMemory, GenerationStatistics } from "./statistics.ts";
import type { PolicySession } from "../engine/policy_session.ts";
import type { Selection } from "../../cache/policy.ts";
import type { SequencePlace, TierSizes } from "../selection/tiers.ts";
import type { SpeculationStatistics } from "../engine/speculative_types.ts";
import type { StepReport } from "../engine/types.ts";
import { mean, median } from "../../core/stats.ts";

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
  /** Bytes brought from the host to the device. */
  readonly loadedBytes: number;
}

/** How sequences are generated. */
export interface LoopOptions {
  /** One writer per prompt. */
  readonly writers: readonly SequenceWriter[];
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
    loadedBytes: keyBytes + valueBytes,
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
  readonly #stepEnds: number[] = [];
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
    { churn, loadedBytes, tiers }: Pick<GenerationStep, "churn" | "loadedBytes" | "tiers">,
  ): void {
    this.#stepEnds.push(this.#now());
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
    const steps = this.#stepEnds.length;
    const first = this.#first ?? end;
    const last = this.#stepEnds.at(-1) ?? first;
    const durations = this.#stepEnds.map((time, step) =>
      time - (this.#stepEnds[step - 1] ?? first)
    );
    const tokens = totals.newTokens.reduce((sum, count) => sum + count, 0);
    return {
      ...totals,
      steps,
      ttftMs: first - this.#start,
      tpotMs: steps === 0 ? 0 : (last - first) / steps,
      stepMedianMs: steps === 0 ? 0 : median(durations),
      tokensPerSecond: tokens === 0 ? 0 : 1000 * tokens / Math.max(1e-3, last - this.#start),
      ...(this.#churn.length > 0 && {
        tiers: meanTiers(this.#tiers),
        migratedBytesPerStep: mean(this.#loadedBytes),
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

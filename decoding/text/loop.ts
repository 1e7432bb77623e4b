/**
 * Runs a session that decodes under a policy until every sequence has ended.
 *
 * @module
 */

import type { Migration } from "../../cache/kv_store.ts";
import type { Selection } from "../../cache/policy.ts";
import type { GenerationMemory, GenerationStatistics, StatisticsRecorder } from "./statistics.ts";
import type { PolicySession, StepReport } from "../engine/policy_session.ts";
import type { SpeculationStatistics } from "../engine/speculative_types.ts";
import type { GeneratedToken, SequenceWriter } from "./writer.ts";
import type { TierSizes } from "../selection/tiers.ts";

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

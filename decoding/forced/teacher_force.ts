/**
 * Teacher forcing: the same tokens under the full and a compressed cache, and how far their predictions diverge.
 *
 * @module
 */

import { type StepQuality, stepQuality } from "../../analysis/quality.ts";
import { createPolicy } from "../../cache/policy_options.ts";
import { checkInteger } from "../../core/check.ts";
import {
  type DecodingSession,
  describeStep,
  type GenerationStep,
  prefillAll,
  StatisticsRecorder,
} from "../text/loop.ts";
import { tierCounter } from "../selection/tiers.ts";
import {
  type CompressionOptions,
  generationMemory,
  openSession,
  setUpGeneration,
} from "../text/setup.ts";
import type { GenerationStatistics } from "../text/statistics.ts";
import { memoryAdvice } from "../session/memory_advice.ts";
import type { ModelPair } from "../engine/types.ts";
import type { Prompt } from "../text/prompts.ts";

/** Given tokens, and the policy that they are run under. */
export interface TeacherForceOptions extends CompressionOptions {
  /** Tokens that follow the prompt, whatever the model would choose; one decode step each. */
  readonly tokens: readonly number[];
  /** Stops between steps with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called after every step of the compressed cache. */
  readonly onStep?: (step: GenerationStep, quality: StepQuality) => void;
  /** Called while the prompt is read, with the share done so far. */
  readonly onPrefill?: (share: number) => void;
}

/** Result of teacher forcing. */
export interface TeacherForceResult {
  /** One entry per step, for the prediction after each given token. */
  readonly quality: readonly StepQuality[];
  /** Token that the compressed cache would have chosen after each step. */
  readonly chosen: readonly number[];
  /** Times, bytes and tiers of the compressed cache alone. */
  readonly statistics: GenerationStatistics;
}

/**
 * Runs given tokens after a prompt and compares the predictions of a compressed cache with those of the full one.
 *
 * Both caches advance side by side, so no logits are stored. The prediction after the prompt itself is left out, since no
 * token has been dropped at that point.
 *
 * @param pair Models.
 * @param prompt The prompt.
 * @param options Given tokens, policy, budget.
 * @returns Divergence per step, choices, statistics.
 * @throws {RequirementError} If no tokens are given, they do not fit, or a choice is not allowed.
 * @throws {DataError} If the models do not share a vocabulary, or the prompt needs what the model lacks.
 * @throws {GpuError} If the device runs out of memory.
 */
export async function teacherForce(
  pair: ModelPair,
  prompt: Prompt,
  options: TeacherForceOptions,
): Promise<TeacherForceResult> {
  const { tokens, onPrefill, signal } = options;
  checkInteger("force tokens", "number of tokens", { value: tokens.length, min: 1 });
  // One more than is run: the choice after the last token needs a place.
  const setup = setUpGeneration(pair, prompt, { ...options, newTokens: tokens.length + 1 });
  checkInteger("force tokens", "number of prompts", {
    value: setup.prompts.length,
    min: 1,
    max: 1,
  });
  const clock = new PausableClock();
  const recorder = new StatisticsRecorder(() => clock.now());
  try {
    using session = openSession(setup, options);
    using full = openSession({ ...setup, policy: createPolicy("full"), cut: {} }, {});
    const events = (half: number) => ({
      ...(signal && { signal }),
      onPrefill: (share: number) => onPrefill?.((half + share) / 2),
    });
    await prefillAll(session, setup.prompts, events(0));
    await session.nextTokens();
    recorder.first();
    await clock.paused(() => prefillAll(full, setup.prompts, events(1)));
    const sessions = { session, full };
    const steps = await runTeacherForced(sessions, { ...options, setup, recorder, clock });
    return {
      ...steps,
      statistics: recorder.finish({
        promptTokens: setup.prompts.map(({ length }) => length),
        newTokens: [tokens.length],
        memory: await generationMemory(setup.pair, session),
        isAborted: false,
      }),
    };
  } catch (error) {
    throw memoryAdvice(error);
  }
}

async function runTeacherForced(
  { session, full }: { readonly session: DecodingSession; readonly full: DecodingSession },
  options: TeacherForceOptions & {
    readonly setup: ReturnType<typeof setUpGeneration>;
    readonly recorder: StatisticsRecorder;
    readonly clock: PausableClock;
  },
): Promise<Pick<TeacherForceResult, "quality" | "chosen">> {
  const { tokens, setup, recorder, clock, signal, onStep } = options;
  const tiersOf = tierCounter({ ...setup, config: setup.pair.large.config });
  const quality: StepQuality[] = [];
  const chosen: number[] = [];
  for (const [index, token] of tokens.entries()) {
    signal?.throwIfAborted();
    const request = { tokens: [token], logits: true };
    const report = await session.step(request);
    const step = describeStep(report, { step: index + 1, prompts: setup.prompts, tiersOf });
    recorder.step(step);
    const reference = await clock.paused(() => full.step(request));
    const compared = stepQuality(reference.logits!, report.logits!);
    quality.push(compared);
    chosen.push(report.chosen[0]!);
    onStep?.(step, compared);
  }
  return { quality, chosen };
}

/** A clock that stands still while something else runs. */
class PausableClock {
  #pausedMs = 0;

  now(): number {
    return performance.now() - this.#pausedMs;
  }

  async paused<T>(action: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await action();
    } finally {
      this.#pausedMs += performance.now() - start;
    }
  }
}

/**
 * Greedy continuations of several prompts side by side under one setting.
 *
 * @module
 */

import type { ModelPair } from "../engine/types.ts";
import { openSetting, type PolicySetting } from "../engine/settings.ts";
import { prefillAll } from "../text/loop.ts";
import { StepsAhead } from "../text/steps_ahead.ts";

/** How prompts are continued. */
export interface FreeRunOptions {
  /** Policy, choices, budget. */
  readonly setting: PolicySetting;
  /** Most new tokens per prompt. */
  readonly maxNew: number;
  /** Tokens that end a text. */
  readonly endTokens: readonly number[];
  /** Stops between steps. */
  readonly signal?: AbortSignal;
}

/**
 * Continues prompts.
 *
 * @param pair Models.
 * @param prompts Token ids of at least one prompt.
 * @param options Setting, limit, end tokens, signal.
 * @returns New tokens of each prompt, without the end token.
 * @throws {RequirementError} If the prompts do not fit the models or the setting is not allowed.
 */
export async function freeRun(
  pair: ModelPair,
  prompts: readonly (readonly number[])[],
  options: FreeRunOptions,
): Promise<number[][]> {
  const { setting, maxNew, endTokens, signal } = options;
  const capacity = Math.max(...prompts.map(({ length }) => length)) + maxNew + 1;
  using session = openSetting(pair, setting, { sequences: prompts.length, capacity });
  await prefillAll(session, prompts, signal ? { signal } : {});
  const written: number[][] = prompts.map(() => []);
  const isDone = prompts.map(() => false);
  const ahead = new StepsAhead(pair.large.device.info);
  let chosen: readonly number[] = await session.nextTokens();
  for (let count = 0;; count++) {
    chosen.forEach((token, sequence) => {
      isDone[sequence] ||= count === maxNew || endTokens.includes(token);
      if (!isDone[sequence]) written[sequence]!.push(token);
    });
    if (isDone.every(Boolean)) return written;
    signal?.throwIfAborted();
    const steps = ahead.steps([{ left: maxNew - count }]);
    const run = () => session.step({ hasSelections: false, ahead: steps });
    chosen = (await ahead.timed(run)).chosen;
  }
}

/**
 * What policies would choose and hold while all of them read what the full cache writes.
 *
 * @module
 */

import { createPolicy, type ResolvedPolicy } from "../cache/policy_options.ts";
import { storeOf } from "../cache/wanted_store.ts";
import { checkInteger } from "../core/check.ts";
import { usedModels } from "../decoding/engine/model_pair.ts";
import { teacherForce } from "../decoding/forced/teacher_force.ts";
import { tokenTiers } from "../decoding/selection/token_tiers.ts";
import type { BytesView } from "../views/policy_card.tsx";
import { continueGreedily } from "./greedy.ts";
import type { Lab } from "./lab.ts";
import { withProgress } from "./progress_bar.ts";

/** How a prompt is continued. */
export interface SideBySideOptions {
  /** Names of policies, or policies of your own from `resolvePolicy`. */
  readonly policies: readonly (string | ResolvedPolicy)[];
  /** Share of the full cache; 0.3 if left out. */
  readonly budget?: number;
  /** Most tokens that are written; 40 if left out. */
  readonly maxNewTokens?: number;
  /** Ends the cell between two steps. */
  readonly signal?: AbortSignal;
}

/** What one policy chose and held. */
export interface FollowedPolicy {
  /** Its name. */
  readonly policy: string;
  /** Token that it would choose at each step, the first one after the prompt. */
  readonly chosen: readonly number[];
  /** Divergence from the full cache at each step but the first, in nats. */
  readonly kl: readonly number[];
  /** What it held at the last step, [layers * KV heads, tokens]. */
  readonly tiers: Uint8Array;
  /** Bytes after the last step. */
  readonly bytes: BytesView;
  /** Bytes that the last step brought from the host to the device. */
  readonly movedBytes: number;
}

/** Policies that read one text, the full cache first. */
export interface SideBySide {
  /** Token ids of the prompt. */
  readonly prompt: readonly number[];
  /** Token ids that the full cache wrote. */
  readonly written: readonly number[];
  /** What each policy did. */
  readonly runs: readonly FollowedPolicy[];
}

/**
 * Has the full cache continue the first prompt of a lab, and every policy read along.
 *
 * @param lab The pair.
 * @param options Policies and budget; `full` is always run first.
 * @returns Choices, divergence, tiers and bytes, for `policiesView` and `divergenceView`.
 * @throws {RequirementError} If a policy is unknown, or the full cache writes a single token.
 */
export async function sideBySide(lab: Lab, options: SideBySideOptions): Promise<SideBySide> {
  const { policies, maxNewTokens = 40 } = options;
  const all = ["full", ...policies].map((policy) =>
    typeof policy === "string" ? createPolicy(policy) : policy
  );
  const prompt = lab.tokenizer.encode(lab.prompts[0]!);
  return await withProgress("Read side by side", async (progress) => {
    const whole = await continueGreedily(lab.large, prompt, maxNewTokens);
    progress.advance();
    const text = { prompt, written: whole.slice(prompt.length) };
    const count = { value: text.written.length, min: 2 };
    checkInteger("read side by side", "tokens that the full cache writes", count);
    const runs: FollowedPolicy[] = [];
    for (const policy of all) {
      progress.describe(policy.name);
      runs.push(await follow(lab, text, { ...options, policy }));
      progress.advance();
    }
    return { ...text, runs };
  }, { total: 1 + all.length });
}

async function follow(
  lab: Lab,
  { prompt, written }: Pick<SideBySide, "prompt" | "written">,
  options: SideBySideOptions & { readonly policy: ResolvedPolicy },
): Promise<FollowedPolicy> {
  const { policy, signal } = options;
  const budget = { ratio: policy.name === "full" ? 1 : options.budget ?? 0.3 };
  const rule = { policy, budget, config: lab.large.config, promptTokens: prompt.length };
  const newest = { tiers: new Uint8Array(0), movedBytes: 0 };
  const { quality, chosen, statistics: { memory } } = await teacherForce(
    usedModels(lab, policy),
    prompt,
    {
      tokens: written.slice(0, -1),
      policy,
      budget,
      store: storeOf(policy, "tiered"),
      onStep({ selections, tokens, loadedBytes }) {
        newest.tiers = tokenTiers(selections[0]!, tokens[0]!, rule);
        newest.movedBytes = loadedBytes;
      },
      ...signal && { signal },
    },
  );
  return {
    ...newest,
    policy: policy.name,
    chosen: [written[0]!, ...chosen],
    kl: quality.map(({ kl }) => kl),
    bytes: {
      device: memory.large.cacheBytesIdeal,
      small: memory.small?.cacheBytesIdeal ?? 0,
      host: policy.candidates === "all" ? memory.hostBytes : 0,
    },
  };
}

/**
 * The same prompts continued under several policies: texts, tokens held, what was chosen.
 *
 * @module
 */

import { counted } from "../core/counted.ts";
import type { HeadPlace } from "../analysis/attention_map.ts";
import { checkInteger, RequirementError } from "../core/check.ts";
import { mean } from "../core/stats.ts";
import { createPolicy, type ResolvedPolicy } from "../cache/policy_options.ts";
import type { GenerationStep } from "../decoding/text/loop.ts";
import { generateAll } from "../decoding/text/generate.ts";
import { tokenTiers } from "../decoding/selection/token_tiers.ts";
import { modelBytes } from "./cost.ts";
import type { Lab } from "./lab.ts";
import { withProgress } from "./progress_bar.ts";
import { showTable, type Table } from "./table.ts";
import { tokenLabels } from "./views/labels.ts";

/** How prompts are continued. */
export interface ComparePoliciesOptions {
  /** Names of policies, or policies of your own from `resolvePolicy`. */
  readonly policies: readonly (string | ResolvedPolicy)[];
  /** Share of the full cache; 0.3 if left out. The policy `full` ignores it. */
  readonly budget?: number;
  /** Most tokens that are written; 40 if left out. */
  readonly maxNewTokens?: number;
  /** Ends the cell between two steps. */
  readonly signal?: AbortSignal;
}

/** What one policy did. */
export interface PolicyRun {
  /** Its name. */
  readonly policy: string;
  /** What it wrote for each prompt. */
  readonly texts: readonly string[];
  /** Tokens it wrote for each prompt. */
  readonly tokens: readonly (readonly number[])[];
  /** Share of the full cache's tokens that stand at the same place, mean over prompts. */
  readonly agreement: number;
  /** Cost of the cache of the first prompt at each step, in whole entries; a value alone is half. */
  readonly cost: readonly number[];
  /** Tokens of the first prompt at each step. */
  readonly length: readonly number[];
  /** Tiers of the first prompt's tokens at each step, [layers * KV heads, length]. */
  readonly tiers: readonly Uint8Array[];
  /** Whether it asks the small model, whose whole cache then has to be held too. */
  readonly hasSmallModel: boolean;
}

/** Policies and what they did, the full cache first. */
export interface PolicyComparison {
  /** Share of the full cache that the others had. */
  readonly budget: number;
  /** Prompts. */
  readonly prompts: readonly string[];
  /** One entry per policy. */
  readonly runs: readonly PolicyRun[];
  /** Bytes of keys and values of one token, by model. */
  readonly tokenBytes: Readonly<Record<"large" | "small", number>>;
}

/**
 * Continues the prompts of a lab under several policies, with a progress bar.
 *
 * @param lab The pair.
 * @param options Policies and budget; `full` is always run first.
 * @returns Texts and caches.
 * @throws {RequirementError} If a policy is unknown.
 */
export async function comparePolicies(
  lab: Lab,
  options: ComparePoliciesOptions,
): Promise<PolicyComparison> {
  const { budget = 0.3, policies } = options;
  const { prompts } = lab;
  const others = policies.filter((policy) => policy !== "full");
  return await withProgress("Continue prompts", async (progress) => {
    const runs: PolicyRun[] = [];
    for (const policy of ["full", ...others]) {
      options.signal?.throwIfAborted();
      progress.describe(nameOf(policy));
      runs.push(await runPolicy(lab, policy, { ...options, reference: runs[0]?.tokens }));
      progress.advance();
    }
    const bytesOf = (role: "large" | "small") => modelBytes(lab[role]).cachePerToken;
    return {
      budget,
      prompts,
      runs,
      tokenBytes: { large: bytesOf("large"), small: bytesOf("small") },
    };
  }, { total: 1 + others.length });
}

function nameOf(policy: string | ResolvedPolicy): string {
  return typeof policy === "string" ? policy : policy.name;
}

async function runPolicy(
  lab: Lab,
  policy: string | ResolvedPolicy,
  options: ComparePoliciesOptions & { readonly reference: PolicyRun["tokens"] | undefined },
): Promise<PolicyRun> {
  const { maxNewTokens = 40, signal } = options;
  const resolved = typeof policy === "string" ? createPolicy(policy) : policy;
  const budget = policy === "full" ? 1 : options.budget ?? 0.3;
  const steps: GenerationStep[] = [];
  const pair = { large: lab.large, small: lab.small };
  const { sequences, statistics } = await generateAll(pair, lab.prompts, {
    policy,
    budget,
    maxNewTokens,
    onStep: (step) => steps.push(step),
    ...(signal && { signal }),
  });
  if (statistics.isAborted) signal?.throwIfAborted();
  const tokens = sequences.map((sequence) => sequence.tokens);
  const own = steps.slice(0, (tokens[0]?.length ?? 1) - 1);
  const rule = {
    policy: resolved,
    budget: { ratio: budget },
    config: lab.large.config,
    promptTokens: statistics.promptTokens[0]!,
  };
  return {
    policy: nameOf(policy),
    texts: sequences.map(({ text }) => text.trim()),
    tokens,
    agreement: mean(tokens.map((list, index) => agreementOf(list, options.reference?.[index]))),
    cost: own.map(({ tiers: [first] }) => first!.critical + first!.recent + first!.marginal / 2),
    length: own.map((step) => step.tokens[0]!),
    tiers: own.map((step) => tokenTiers(step.selections[0]!, step.tokens[0]!, rule)),
    hasSmallModel: resolved.saliencySource === "small",
  };
}

function agreementOf(own: readonly number[], reference: readonly number[] = own): number {
  const same = reference.filter((token, index) => token === own[index]).length;
  return same / Math.max(1, reference.length);
}

/**
 * Shows what each policy wrote for the first prompt and how many tokens of all texts are those of the full cache.
 *
 * @param comparison The comparison.
 */
export async function showTexts(comparison: PolicyComparison): Promise<void> {
  await showTable(textTable(comparison));
}

/** Table of texts and agreement. */
function textTable({ runs, prompts, budget }: PolicyComparison): Table {
  return {
    title: `At a budget of ${100 * budget} %, n = ${
      counted(prompts.length, "prompt")
    }; the text is the first one's`,
    columns: ["policy", "tokens as with the full cache (%)", "text"],
    rows: runs.map(({ policy, agreement, texts }) => [policy, 100 * agreement, texts[0]!]),
  };
}

/** What a tier view needs of a run. */
export interface RunTiers {
  /** Tiers of the tokens that each step could have seen. */
  readonly steps: readonly Uint8Array[];
  /** Label of each token. */
  readonly labels: readonly string[];
}

/**
 * Gathers what one KV head held of the first prompt and its continuation.
 *
 * @param lab The pair.
 * @param comparison The comparison.
 * @param choice Policy, and a layer with one of its KV heads.
 * @returns Steps and labels, for `tierView`.
 * @throws {RequirementError} If there is no such policy or head.
 */
export function runTiers(
  lab: Lab,
  comparison: PolicyComparison,
  choice: HeadPlace & { readonly policy: string },
): RunTiers {
  const { layer, head, policy } = choice;
  const { layers, kvHeads } = lab.large.config;
  const run = comparison.runs.find((run) => run.policy === policy);
  const action = "show what was held";
  if (run === undefined) {
    const names = comparison.runs.map(({ policy }) => policy).join(", ");
    const requirement = `policy must be one of ${names}`;
    throw new RequirementError({ action, requirement, current: policy });
  }
  checkInteger(action, "layer", { value: layer, min: 0, max: layers - 1 });
  checkInteger(action, "head", { value: head, min: 0, max: kvHeads - 1 });
  const prompt = lab.tokenizer.encode(comparison.prompts[0]!);
  const row = layer * kvHeads + head;
  const steps = run.tiers.map((tiers, step) => {
    const length = run.length[step]!;
    return tiers.subarray(row * length, (row + 1) * length);
  });
  const tokens = [...prompt, ...run.tokens[0]!].slice(0, steps.at(-1)?.length ?? prompt.length);
  return { steps, labels: tokenLabels(lab.models.large, tokens) };
}

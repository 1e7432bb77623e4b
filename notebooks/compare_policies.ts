/**
 * The same prompts continued under several policies: texts, tokens held, what was chosen.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import { mean } from "../core/stats.ts";
import type { Selection } from "../cache/policy.ts";
import { createPolicy, type ResolvedPolicy } from "../cache/policy_options.ts";
import type { GenerationStep } from "../decoding/text/loop.ts";
import { generateAll } from "../decoding/text/generate.ts";
import { modelBytes } from "./cost.ts";
import type { Lab } from "./lab.ts";
import { withProgress } from "./progress_bar.ts";
import { showTable, type Table } from "./table.ts";
import { tokenLabels } from "./views/labels.ts";
import type { TierStep } from "./views/tier_view.ts";
import { tiersOf } from "./views/tiers.ts";

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
  /** Selections of the first prompt at each step, by head group. */
  readonly selections: readonly (readonly Selection[])[];
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

function asksSmallModel(policy: string | ResolvedPolicy): boolean {
  return (typeof policy === "string" ? createPolicy(policy) : policy).saliencySource === "small";
}

async function runPolicy(
  lab: Lab,
  policy: string | ResolvedPolicy,
  options: ComparePoliciesOptions & { readonly reference: PolicyRun["tokens"] | undefined },
): Promise<PolicyRun> {
  const { budget = 0.3, maxNewTokens = 40, signal } = options;
  const steps: GenerationStep[] = [];
  const pair = { large: lab.large, small: lab.small };
  const { sequences, statistics } = await generateAll(pair, lab.prompts, {
    policy,
    budget: policy === "full" ? 1 : budget,
    maxNewTokens,
    onStep: (step) => steps.push(step),
    ...(signal && { signal }),
  });
  if (statistics.isAborted) signal?.throwIfAborted();
  const tokens = sequences.map((sequence) => sequence.tokens);
  const own = steps.slice(0, (tokens[0]?.length ?? 1) - 1);
  return {
    policy: nameOf(policy),
    texts: sequences.map(({ text }) => text.trim()),
    tokens,
    agreement: mean(tokens.map((list, index) => agreementOf(list, options.reference?.[index]))),
    cost: own.map(({ tiers: [first] }) => first!.critical + first!.recent + first!.marginal / 2),
    length: own.map((step) => step.tokens[0]!),
    selections: own.map((step) => step.selections[0]!),
    hasSmallModel: asksSmallModel(policy),
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
    title: `At a budget of ${
      100 * budget
    } %, n = ${prompts.length} prompts; the text is the first one's`,
    columns: ["policy", "tokens as with the full cache (%)", "text"],
    rows: runs.map(({ policy, agreement, texts }) => [policy, 100 * agreement, texts[0]!]),
  };
}

/** What a tier view needs of a run. */
export interface RunTiers {
  /** Rows. */
  readonly steps: readonly TierStep[];
  /** Label of each token. */
  readonly labels: readonly string[];
}

/**
 * Gathers which tokens one head group held while the first prompt was continued.
 *
 * @param lab The pair.
 * @param comparison The comparison.
 * @param choice Policy, and the head group whose selection is shown: for most policies a flat KV head, layer * KV heads + head.
 * @returns Steps and labels, for `tierView`.
 */
export function runTiers(
  lab: Lab,
  comparison: PolicyComparison,
  choice: { readonly policy: string; readonly headGroup: number },
): RunTiers {
  const run = comparison.runs.find(({ policy }) => policy === choice.policy);
  const selection = (step: readonly Selection[]) => step[choice.headGroup];
  if (run === undefined || run.selections.some((step) => selection(step) === undefined)) {
    throw new RequirementError({
      action: "show a selection",
      requirement: `policy must be one of ${
        comparison.runs.map(({ policy }) => policy).join(", ")
      } and headGroup one of its head groups`,
      state: `value is ${choice.policy}, ${choice.headGroup}`,
    });
  }
  const prompt = lab.tokenizer.encode(comparison.prompts[0]!);
  const tokens = [...prompt, ...run.tokens[0]!];
  const labels = tokenLabels(lab.models.large, tokens);
  const steps = run.selections.map((step, index): TierStep => ({
    label: labels[prompt.length + index]!,
    tiers: tiersOf(selection(step)!, {
      tokens: run.length[index]!,
      recent: newest(selection(step)!, run.length[index]!),
      length: labels.length,
    }),
  }));
  return { steps, labels };
}

/** How many of the newest tokens are kept without a gap. */
function newest({ full }: Selection, tokens: number): number {
  let count = 0;
  while (count < full.length && full[full.length - 1 - count] === tokens - 1 - count) count++;
  return count;
}

/**
 * Checks the options of a generation and opens its session.
 *
 * @module
 */

import type { CacheBits } from "../../cache/full_cache.ts";
import { type CacheBudget, checkBudget } from "../../cache/budget.ts";
import {
  createPolicy,
  type PolicyOptions,
  type ResolvedPolicy,
} from "../../cache/policy_options.ts";
import { RequirementError } from "../../core/check.ts";
import type { DecodingSession } from "./loop.ts";
import type { GenerationMemory } from "./statistics.ts";
import type { SmallModelCut } from "../scoring/small_model.ts";
import { sharedReaders, usedModels } from "../engine/model_pair.ts";
import type { ModelPair, PolicySessionOptions } from "../engine/types.ts";
import { PolicySession } from "../engine/policy_session.ts";
import { type Prompt, promptList, promptTokens } from "./prompts.ts";
import { SpeculativeSession } from "../engine/speculative_session.ts";
import type { BlockSelection } from "../engine/speculative_types.ts";
import type { PairMatchOptions } from "../scoring/head_matching.ts";
import { checkSampling, type SamplingOptions } from "./sampling.ts";

/** What decides which tokens are kept and where. */
export interface CompressionOptions {
  /** Name of a policy, or a policy with every choice made; `smallkv` if left out. */
  readonly policy?: string | ResolvedPolicy;
  /** Choices of a policy given by name. */
  readonly policyOptions?: PolicyOptions;
  /** Share of the full cache in (0, 1], or a number of tokens; 0.2 if left out. */
  readonly budget?: number | CacheBudget;
  /** Share of its own cache that the small model keeps, or a number of tokens; all of it if left out. */
  readonly smallBudget?: number | CacheBudget;
  /** First layers of the small model that run; all if left out. */
  readonly smallLayers?: number;
  /** Bits of a number in the small model's cache (D-36); 16 if left out. */
  readonly smallCacheBits?: CacheBits;
  /** How heads are matched. */
  readonly match?: PairMatchOptions;
  /** Whether the device holds every token, or only the chosen ones and the host all; `resident` if left out. */
  readonly store?: "resident" | "tiered";
  /** Rows of one prefill step; if left out, 512 on GPUs and 128 elsewhere. */
  readonly chunk?: number;
}

/** Whether the small model drafts. */
export interface DraftOptions {
  /** Tokens that it drafts for each pass of the large model, from 0 to 15; it does not draft if left out. */
  readonly speculative?: number;
  /** What the rows of such a pass attend to; `per_query` if left out. */
  readonly block?: BlockSelection;
}

/** A session that generates. */
export type GenerationSession =
  & DecodingSession
  & Pick<PolicySession, "memory" | "lengths">
  & Disposable;

/** A generation that is ready to start. */
export interface GenerationSetup {
  /** Models; the small one only if the policy uses it. */
  readonly pair: ModelPair;
  /** The policy. */
  readonly policy: ResolvedPolicy;
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** How the small model is made cheaper. */
  readonly cut: SmallModelCut;
  /** Token ids of each prompt. */
  readonly prompts: readonly (readonly number[])[];
  /** Tokens that must fit per sequence. */
  readonly capacity: number;
}

/** Budget of a generation if none is given. */
const DEFAULT_BUDGET = 0.2;

/**
 * Resolves policy, budget, prompts and capacity.
 *
 * @param pair Models.
 * @param prompt One prompt or several.
 * @param options Choices; `newTokens` is how many tokens must fit after each prompt; `sampling` how they are drawn.
 * @returns The setup.
 * @throws {RequirementError} If the policy, an option or a budget is not allowed, or prompt and new tokens do not fit.
 * @throws {DataError} If the models do not share a vocabulary, or a prompt needs what the model lacks.
 */
export function setUpGeneration(
  pair: ModelPair,
  prompt: Prompt | readonly Prompt[],
  options: CompressionOptions & DraftOptions & {
    readonly newTokens: number;
    readonly sampling?: SamplingOptions;
  },
): GenerationSetup {
  checkDraws(options);
  const policy = resolvePolicyOption(options);
  const budget = cacheBudget(options.budget ?? DEFAULT_BUDGET);
  const cut = smallModelCut(options);
  const used = usedModels(pair, policy);
  const prompts = promptList(prompt).map((one) => promptTokens(pair.large, one));
  const longest = Math.max(...prompts.map(({ length }) => length));
  const capacity = longest + options.newTokens;
  checkRoom(used, longest, options.newTokens);
  return { pair: used, policy, budget, cut, prompts, capacity };
}

/**
 * Opens the session of a generation.
 *
 * @param setup What is generated.
 * @param options Store, matching, chunk, drafts.
 * @returns A session without tokens.
 * @throws {RequirementError} If turns cannot be run in blocks as asked.
 * @throws {GpuError} If the device has too little memory.
 */
export function openSession(
  setup: GenerationSetup,
  options: CompressionOptions & DraftOptions & Pick<PolicySessionOptions, "turnBlock">,
): GenerationSession {
  const { pair, policy, budget, cut, capacity, prompts } = setup;
  const { match, store, chunk, speculative: draftTokens, block, turnBlock } = options;
  const common = {
    policy,
    budget,
    capacity,
    sequences: prompts.length,
    ...cut,
    ...(match && { match }),
    ...(store && { store }),
    ...(chunk !== undefined && { chunk }),
    ...(turnBlock !== undefined && { turnBlock }),
  };
  if (draftTokens !== undefined) {
    return new SpeculativeSession(pair, { ...common, draftTokens, ...(block && { block }) });
  }
  if (block === undefined) return new PolicySession(pair, common);
  const requirement = "block must come with speculative";
  throw new RequirementError({ action: "generate", requirement, state: `value is ${block} alone` });
}

/**
 * Bytes of a generation.
 *
 * @param models Large and, if used, small model.
 * @param session Its session; without one only weights are counted.
 * @returns Weights, caches, host copies.
 */
export async function generationMemory(
  { large, small }: ModelPair,
  session?: Pick<PolicySession, "memory">,
): Promise<GenerationMemory> {
  const bytes = await session?.memory();
  return {
    large: {
      weightBytes: large.weights.byteLength,
      cacheBytes: bytes?.largeCacheBytes ?? 0,
      cacheBytesIdeal: bytes?.largeCacheBytesIdeal ?? 0,
    },
    ...(small && {
      small: {
        weightBytes: small.weights.byteLength,
        cacheBytes: bytes?.smallCacheBytes ?? 0,
        cacheBytesIdeal: bytes?.smallCacheBytesIdeal ?? 0,
      },
    }),
    hostBytes: bytes?.hostBytes ?? 0,
  };
}

/** Reads a share of the full cache in (0, 1], or a budget. */
function cacheBudget(budget: number | CacheBudget): CacheBudget {
  return checkBudget(typeof budget === "number" ? { ratio: budget } : budget);
}

function smallModelCut(
  { smallBudget, smallLayers, smallCacheBits }: CompressionOptions,
): SmallModelCut {
  return {
    ...(smallBudget !== undefined && { smallBudget: cacheBudget(smallBudget) }),
    ...(smallLayers !== undefined && { smallLayers }),
    ...(smallCacheBits !== undefined && { smallCacheBits }),
  };
}

/** The policy of some choices. */
export function resolvePolicyOption(
  { policy = "smallkv", policyOptions }: CompressionOptions,
): ResolvedPolicy {
  if (typeof policy === "string") return createPolicy(policy, policyOptions);
  if (policyOptions === undefined) return policy;
  throw new RequirementError({
    action: "set up a cache policy",
    requirement: "policyOptions must come with the name of a policy",
    state: `policy is ${policy.name}, whose choices are made`,
  });
}

/** Drafts are checked against the likeliest token, so that drawn ones would have another distribution. */
function checkDraws(
  { sampling, speculative }: DraftOptions & { readonly sampling?: SamplingOptions },
): void {
  if (sampling) checkSampling(sampling);
  if (!sampling || speculative === undefined) return;
  const requirement = "tokens must be the likeliest ones where drafts are checked";
  throw new RequirementError({ action: "generate", requirement, state: "options have sampling" });
}

function checkRoom(pair: ModelPair, prompt: number, newTokens: number): void {
  for (const { name, config: { contextLength } } of sharedReaders(pair)) {
    if (prompt + newTokens <= contextLength) continue;
    throw new RequirementError({
      action: "generate",
      requirement: `prompt and new tokens must fit the context of ${name}, ${contextLength}`,
      state: `value is ${prompt} + ${newTokens}`,
    });
  }
}

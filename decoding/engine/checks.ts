/**
 * Checks of every choice of a decoding, once, before anything is allocated.
 *
 * @module
 */

import { checkBudget } from "../../cache/budget.ts";
import { cacheFormats } from "../../cache/full_cache.ts";
import { POLICIES } from "../../cache/policies/mod.ts";
import type { StoreKind } from "../../cache/kv_store.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import { checkInteger, DataError, RequirementError } from "../../core/check.ts";
import type { Model } from "../../models/load.ts";
import { sameVocabulary, type Tokenizer } from "../../models/tokenizer/tokenizer.ts";
import { readsVectors } from "../../cache/scores/score.ts";
import { plansOnDevice } from "../selection/planner.ts";
import { checkRest } from "../selection/rest.ts";
import { isDeviceScore, type SequenceSetting } from "../selection/sequence_settings.ts";
import { isFitted } from "../scoring/head_matching.ts";
import type { SmallModelCut } from "../scoring/small_model.ts";
import {
  BLOCK_SELECTIONS,
  DEFAULT_BLOCK,
  MAX_DRAFT_TOKENS,
  type Speculation,
  type SpeculationRequest,
} from "./speculative_types.ts";
import type { ModelPair } from "./types.ts";

/** Rows of a prefill step; activations have room for this many, which limits the blocks of a turn. */
const DEFAULT_CHUNK = 128;

/**
 * Throws unless a pair can decode under a policy.
 *
 * @throws {RequirementError} If the policy needs a small model and there is none, or its table of tokens has another size;
 *   if the rest cannot count in the large model.
 * @throws {DataError} If token ids do not mean the same to both models.
 */
export function checkPair({ large, small }: ModelPair, policy: ResolvedPolicy): void {
  checkRest({ large, ...(small && { small }) }, policy);
  if (policy.saliencySource !== "small") return;
  const action = `decode under ${policy.name}`;
  if (!small) {
    throw new RequirementError({
      action,
      requirement: "a small model must be given",
      current: "none",
    });
  }
  if (small.givenTokenizer) return checkOwnTokens(small.givenTokenizer, { large, policy });
  if (large.tokenizer && small.tokenizer) {
    // Tables may be padded to different sizes; only the meaning of ids matters.
    if (sameVocabulary(large.tokenizer, small.tokenizer)) return;
    throw new DataError(
      `Cannot ${action}: both models must have one vocabulary: current models are ${large.name} and ${small.name}, whose token ids mean different texts; a small model can read the text in tokens of its own, withOwnTokens or --small-tokens own`,
    );
  }
  if (small.config.vocabulary === large.config.vocabulary) return;
  throw new RequirementError({
    action,
    requirement:
      `the small model must have the vocabulary of the large one, ${large.config.vocabulary} tokens`,
    current: small.config.vocabulary,
  });
}

/** Throws unless a policy can be guided by a small model that reads the large one's text in tokens of its own. */
function checkOwnTokens(
  given: Tokenizer,
  { large, policy }: { readonly large: Model; readonly policy: ResolvedPolicy },
): void {
  const action = "let a small model read in tokens of its own";
  if (large.tokenizer !== given) {
    const requirement = `it must have been given the tokenizer of ${large.name}`;
    throw new RequirementError({ action, requirement, state: "tokenizer is another one" });
  }
  if (isDeviceScore(policy)) return;
  const requirement = "the score must be a sum of rows, which can be mapped";
  throw new RequirementError({ action, requirement, state: `score is ${policy.score?.name}` });
}

/**
 * Throws unless the small model can be made cheaper as asked.
 *
 * @throws {RequirementError} If no policy has one, its cache has other bits than there are or too few for a budget, a score
 *   needs its whole cache, or it reads in tokens of its own, whose cache must stay complete so that it can go back.
 */
export function checkCut(
  sequences: readonly Pick<SequenceSetting, "policy" | "smallBudget">[],
  { smallLayers, smallCacheBits }: Pick<SmallModelCut, "smallLayers" | "smallCacheBits">,
  small?: Pick<Model, "givenTokenizer">,
): void {
  for (const { smallBudget } of sequences) if (smallBudget) checkBudget(smallBudget);
  const reader = sequences.find(({ smallBudget, policy: { saliencySource, score } }) =>
    smallBudget && saliencySource === "small" && score && readsVectors(score)
  );
  if (reader) {
    throw new RequirementError({
      action: "make the small model cheaper",
      requirement: "it must keep its whole cache for a score that reads keys",
      state: `score is ${reader.policy.score!.name}`,
    });
  }
  if (small?.givenTokenizer && sequences.some(({ smallBudget }) => smallBudget)) {
    throw new RequirementError({
      action: "make the small model cheaper",
      requirement:
        "it must keep its whole cache, which goes back where text changes its own tokens",
      state: "it has tokens of its own and a budget",
    });
  }
  cacheFormats(smallCacheBits); // throws if there are none
  if ((smallCacheBits ?? 16) !== 16 && sequences.some(({ smallBudget }) => smallBudget)) {
    throw new RequirementError({
      action: "make the small model cheaper",
      requirement: "it must keep its whole cache where numbers have fewer than 16 bits",
      state: `it has a budget and ${smallCacheBits} bits`,
    });
  }
  const bare = sequences.filter(({ policy }) => policy.saliencySource !== "small");
  const isAsked = smallLayers !== undefined || smallCacheBits !== undefined;
  const isAll = isAsked && bare.length === sequences.length;
  const misused = bare.find(({ smallBudget }) => isAll || smallBudget);
  if (!misused) return;
  throw new RequirementError({
    action: "make the small model cheaper",
    requirement: "the policy must have one, as smallkv has",
    state: `policy is ${misused.policy.name}`,
  });
}

/**
 * Throws if a small model reads in tokens of its own where it must read those of the large one.
 *
 * @param small The small model.
 * @param action What cannot be done otherwise.
 */
export function refuseOwnTokens(small: Model | undefined, action: string): void {
  if (!small?.givenTokenizer) return;
  throw new RequirementError({
    action,
    requirement: "the small model must have the vocabulary of the large one",
    state: `${small.name} reads in tokens of its own`,
  });
}

/**
 * Checks that turns can be run in blocks of a size, and returns it; 1, token by token, always works.
 *
 * @throws {RequirementError} If they cannot.
 */
export function checkTurnBlock(
  sequences: readonly { readonly policy: ResolvedPolicy }[],
  options: { readonly turnBlock?: number; readonly chunk?: number; readonly store?: StoreKind },
): number {
  const action = "run turns in blocks";
  const { turnBlock = 1, chunk = DEFAULT_CHUNK, store = "resident" } = options;
  checkInteger(action, "chunk", { value: chunk, min: 1 });
  checkInteger(action, "turnBlock", { value: turnBlock, min: 1, max: chunk });
  if (turnBlock === 1) return turnBlock;
  const other = sequences.find(({ policy }) => policy.candidates !== "kept");
  if (other) {
    const requirement = "the policy must drop for good, as h2o does";
    throw new RequirementError({ action, requirement, state: `policy is ${other.policy.name}` });
  }
  if (store !== "resident") {
    const requirement = "the store must be resident, where more than one new token has a place";
    throw new RequirementError({ action, requirement, current: store });
  }
  return turnBlock;
}

/**
 * Throws unless steps can run before their tokens are read under one of the policies.
 *
 * @throws {RequirementError} If each step needs something on the host.
 */
export function checkAhead(policies: readonly ResolvedPolicy[], store: StoreKind): void {
  const action = "run steps ahead";
  if (store !== "resident") {
    throw new RequirementError({
      action,
      requirement: "the store must be resident",
      current: store,
    });
  }
  const choosesByLengths = ({ score, index }: ResolvedPolicy) => !score && !index;
  if (
    policies.some((policy) =>
      choosesByLengths(policy) || plansOnDevice({ settings: [{ policy }] }, store)
    )
  ) return;
  throw new RequirementError({
    action,
    requirement:
      "the policy must choose tokens on the device or by lengths, as smallkv or streaming",
    state: `policy is ${policies.map(({ name }) => name).join(", ")}`,
  });
}

/**
 * Checks that a policy can decode with drafts, along with everything else that is requested.
 *
 * @throws {RequirementError} If it cannot; the message says what would be needed.
 */
export function checkSpeculation(policy: ResolvedPolicy, request: SpeculationRequest): Speculation {
  const { draftTokens, block = DEFAULT_BLOCK, store = "resident", sequences = 1 } = request;
  const { smallBudget, smallLayers, match } = request;
  const action = "speculate";
  const refuse = (requirement: string, current: unknown): never => {
    throw new RequirementError({ action, requirement, current });
  };
  if (policy.saliencySource !== "small" || policy.timing !== "before") {
    const allowed = POLICIES.filter(({ saliencySource }) => saliencySource === "small");
    const names = allowed.map(({ name }) => name).join(" or ");
    refuse(`the policy must be one with a small model, ${names}`, policy.name);
  }
  if (!isDeviceScore(policy)) refuse("the score must be a sum of rows", policy.score?.name);
  if (policy.weights === "group") refuse("weights must be query_head", policy.weights);
  if (match && isFitted(match)) refuse("heads must be matched", "a fitted map");
  if (match?.rematch !== undefined) refuse("heads must be matched once", match.rematch);
  if (policy.positions === "slot") {
    refuse("positions must be original, since rows of a block share their keys", policy.positions);
  }
  if (policy.stale) refuse("stale must be false, so that a block is planned before it runs", true);
  if (!BLOCK_SELECTIONS.includes(block)) {
    refuse(`block must be one of ${BLOCK_SELECTIONS.join(", ")}`, block);
  }
  if (smallBudget) refuse("the small model must keep its whole cache", "a budget for it");
  if (smallLayers !== undefined) {
    refuse("the small model must run all of its layers, whose head drafts", smallLayers);
  }
  if (store !== "resident") refuse("the store must be resident", store);
  if (sequences !== 1) refuse("the number of sequences must be 1", sequences);
  checkInteger(action, "draftTokens", { value: draftTokens, min: 0, max: MAX_DRAFT_TOKENS });
  return { draftTokens, block };
}

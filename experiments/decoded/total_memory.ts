/**
 * All the bytes that a policy needs for one text, by phase and by what they are for.
 *
 * They are counted by the tokens that attention saw and by what the session keeps, in 16 bits or those of the small model's
 * cache; measurements themselves run on resident stores, which hold every token. Not counted are the large model's weights and
 * activations, which all policies need; what scores remember is counted apart and is in no total.
 *
 * @see docs/method.md, "Equal total memory"
 * @module
 */

import type { CountRequest } from "../../cache/budget.ts";
import { cacheFormats, fullCacheBytes } from "../../cache/full_cache.ts";
import { createPolicy, type ResolvedPolicy } from "../../cache/policy_options.ts";
import { readsLastRows } from "../../cache/scores/score.ts";
import { mean } from "../../core/stats.ts";
import type {
  ExperimentModel,
  ModelShape,
  PolicySetting,
  TeacherForcedRun,
} from "../experiment.ts";
import { entryBytes } from "./policy_stats.ts";

/** Bytes for one text. */
export type TextMemory = {
  /** Keys and values of the large model's whole cache at the end of the text: what shares are of. */
  readonly full: number;
  /** Keys and values of the large model that a step's attention saw, the newest token's included: largest over the steps. */
  readonly kept: number;
  /** The same, mean over the steps. */
  readonly keptMean: number;
  /** What finds tokens beside keys and values, such as sketches of keys, at the end. */
  readonly sketches: number;
  /** Sums of values, and a layer's means, where the rest of the tokens counts (D-31). */
  readonly rest: number;
  /** Keys and values of the small model at the end. */
  readonly small: number;
  /** Weights that are there for the small model alone. */
  readonly smallWeights: number;
  /** All of these but weights once the prompt is read, before anything is dropped. */
  readonly prompt: number;
  /** What the score has to remember from step to step, in 32 bits, at the end; in no total. */
  readonly scores: number;
  /** The large model's complete cache on the host, from where dropped tokens return; 0 where they never do. */
  readonly host: number;
};

/** What decides the bytes of a model; models of one hash share their weights. */
type MemoryShape =
  & Pick<ModelShape, "layers" | "queryHeads" | "kvHeads" | "headDim" | "fileTensorBytes">
  & Pick<ExperimentModel, "hash">;

/** When bytes are there, and whether the small model's weights count. */
export interface MemoryCount {
  /** `decode`: at the largest step. `prompt`: before anything is dropped. */
  readonly phase: "decode" | "prompt";
  /** Whether the small model's weights count. */
  readonly hasWeights: boolean;
}

/**
 * Counts the bytes of a run.
 *
 * Every policy holds the whole prompt before it drops anything, so that all need at least the full cache for a moment; for
 * those that drop tokens of the prompt from layer to layer this is an upper bound. Where the prompt is repeated, it is there
 * twice. A small model that stops early has the weights of all its layers, as its file does.
 *
 * @param run What was decoded, of at least one step.
 * @param text Tokens of its prompt, its setting, sizes of the models.
 * @throws {RequirementError} If the policy is not allowed.
 */
export function textMemory(
  run: Pick<TeacherForcedRun, "cost" | "bytes">,
  { promptTokens, setting, large, small }: {
    readonly promptTokens: number;
    readonly setting: PolicySetting;
    readonly large: MemoryShape;
    readonly small: MemoryShape;
  },
): TextMemory {
  const { policy: name, options, budget, smallLayers = small.layers, smallCacheBits } = setting;
  const policy = createPolicy(name, options);
  const { saliencySource, candidates, score } = policy;
  const { layers, kvHeads, headDim } = large;
  const rest = policy.rest === "none" ? 0 : 4 * headDim * kvHeads * (layers + 1);
  const asksSmall = saliencySource === "small";
  const token = entryBytes(large);
  // A small model that stops early holds no values in its last layer, unless its own cache is compressed.
  const isCut = smallLayers < small.layers && setting.smallBudget === undefined;
  const smallShape = { ...small, ...cacheFormats(smallCacheBits), layers: smallLayers };
  const one = { capacity: 1, sequences: 1, isLastKeysOnly: isCut };
  const smallToken = asksSmall ? fullCacheBytes({ ...smallShape, ...one }) : 0;
  const kept = run.cost.slice(1).map((share, step) => share * (promptTokens + step + 1) * token);
  const full = (promptTokens + kept.length) * token;
  // What the session counts beyond the tokens that its last step saw; where tokens are dropped after a step it is less.
  const sketch = Math.max(0, Math.round(run.bytes.large - kept.at(-1)!));
  const sketchOfPrompt = sketch * promptTokens / (promptTokens + kept.length);
  return {
    full,
    kept: Math.max(...kept),
    keptMean: mean(kept),
    sketches: sketch,
    rest,
    small: run.bytes.small,
    smallWeights: asksSmall && small.hash !== large.hash ? small.fileTensorBytes : 0,
    prompt: promptTokens * (score?.reads === "repetition" ? 2 : 1) * token +
      promptTokens * smallToken + sketchOfPrompt + rest,
    scores: scoreBytes(policy, {
      ...{ budget, promptTokens, tokens: promptTokens + kept.length },
      held: Math.max(...kept) / token,
      ...{ large, small: { ...small, layers: smallLayers } },
    }),
    host: candidates === "all" && name !== "full" ? full : 0,
  };
}

/**
 * Counts what a score has to remember: a sum for each token and head of the small model, or for each token held and head
 * group of the large one; rows of a window; moments of queries. What follows from the cache or the newest row is not
 * remembered, although sessions copy keys to the host for it.
 */
function scoreBytes(
  policy: ResolvedPolicy,
  { held, large, small, ...request }: Pick<CountRequest, "budget" | "promptTokens" | "tokens"> & {
    readonly held: number;
    readonly large: MemoryShape;
    readonly small: MemoryShape;
  },
): number {
  const { score, saliencySource, granularity } = policy;
  if (!score || score.reads === "nothing" || score.decay === 0) return 0;
  const { layers, queryHeads, kvHeads, headDim } = saliencySource === "small" ? small : large;
  const groups = saliencySource === "small"
    ? layers * queryHeads
    : layers * (granularity === "layer" ? 1 : kvHeads);
  const tokens = saliencySource === "small" ? request.tokens : held;
  if (score.reads === "queries") return 4 * layers * queryHeads * headDim * (headDim + 3) / 2;
  if (score.reads === "keys" || score.reads === "values") return 0;
  const isWindow = readsLastRows(score) && score.decay === undefined && !score.isPromptOnly;
  const rows = isWindow ? score.rows?.({ ...policy, ...request, layer: 0, layers }) ?? 1 : 1;
  return 4 * groups * rows * tokens;
}

/** Adds up what is on the device. */
export function deviceBytes(
  { kept, sketches, rest, small, prompt, smallWeights }: TextMemory,
  { phase, hasWeights }: MemoryCount,
): number {
  const cache = phase === "prompt" ? prompt : kept + sketches + rest + small;
  return cache + (hasWeights ? smallWeights : 0);
}

/**
 * Finds the share of the full cache that a policy may keep so that all it needs while decoding fits a share of its bytes.
 *
 * @param measured Memory at other budgets, each with the share that it was given.
 * @param target Share of the full cache's bytes.
 * @param tokens Tokens at the end of the text.
 * @param hasWeights Whether the small model's weights count.
 * @returns The share, a whole number of tokens; undefined if nothing would be left.
 */
export function budgetForTotal(
  measured: readonly { readonly ratio: number; readonly memory: TextMemory }[],
  { target, tokens, hasWeights }: {
    readonly target: number;
    readonly tokens: number;
    readonly hasWeights: boolean;
  },
): number | undefined {
  const extra = measured.map(({ ratio, memory: { kept, full } }) =>
    kept / full * tokens - Math.floor(ratio * tokens + 1e-9)
  );
  // Beside the budget: the newest token, tokens until the next choice, or all that is generated, by policy. Where it is
  // more than the newest token it differs a little from budget to budget.
  const newest = Math.max(0, Math.ceil(Math.max(...extra) - 1e-9));
  const beside = newest > 1 ? newest + 1 : newest;
  const others = measured.map(({ memory }) =>
    (deviceBytes(memory, { phase: "decode", hasWeights }) - memory.kept) / memory.full
  );
  const kept = Math.floor((target - Math.max(...others)) * tokens + 1e-9) - beside;
  return kept < 1 ? undefined : Math.min(1, kept / tokens);
}

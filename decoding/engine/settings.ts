/**
 * A cache policy with all of its choices as plain data, which experiments vary.
 *
 * @module
 */

import type { CacheBudget } from "../../cache/budget.ts";
import { indexKey } from "../../cache/key_index.ts";
import { createPolicy, type PolicyOptions } from "../../cache/policy_options.ts";
import {
  listGranularity,
  readsAllTokens,
  type SequenceSetting,
} from "../selection/sequence_settings.ts";
import type { PairMatchOptions } from "../scoring/head_matching.ts";
import type { SmallModelCut } from "../scoring/small_model.ts";
import type { PromptSetting } from "./prompt_beginnings.ts";
import type { ModelPair, SharedOptions } from "./types.ts";
import { PolicySession } from "./policy_session.ts";
import { sequenceBytes, smallSequenceBytes } from "./sequence_bytes.ts";
import { fullCacheBytes } from "../../cache/full_cache.ts";
import type { Model } from "../../models/load.ts";

/** One way to decode. */
export interface PolicySetting extends SmallModelCut {
  /** Name of the policy. */
  readonly policy: string;
  /** Choices that differ from the recommended ones. */
  readonly options?: PolicyOptions;
  /** What is kept of the large model's cache. */
  readonly budget: CacheBudget;
  /** What heads are matched by, or `fitted` for a map in place of a match (D-32); the usual if left out. */
  readonly matchBy?: NonNullable<PairMatchOptions["by"]>;
}

/** Sizes of a batch of sequences. */
interface BatchSizes {
  /** Sequences side by side. */
  readonly sequences: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
}

/**
 * Starts a session for a setting.
 *
 * @param pair Models.
 * @param setting Policy, choices, budget.
 * @param sizes Sizes of the batch.
 * @returns The session.
 * @throws {RequirementError} If the policy or a choice is not allowed, or the small model cannot be made cheaper as asked.
 */
export function openSetting(
  pair: ModelPair,
  setting: PolicySetting,
  sizes: BatchSizes,
): PolicySession {
  return new PolicySession(pair, {
    ...sequenceSetting(setting),
    ...sizes,
    ...sharedOptions(setting),
  });
}

/**
 * Starts a session in which every setting decodes the same tokens: one sequence per setting, one small model for all.
 *
 * @param pair Models.
 * @param settings Policies, choices, budgets that can run together, as `settingBatches` groups them.
 * @param capacity Tokens that fit per sequence.
 * @returns The session.
 * @throws {RequirementError} If a policy or a choice is not allowed, or they cannot run together.
 */
export function openSettings(
  pair: ModelPair,
  settings: readonly PolicySetting[],
  capacity: number,
): PolicySession {
  return new PolicySession(pair, {
    settings: settings.map((setting) => ({ ...sequenceSetting(setting), smallSequence: 0 })),
    capacity,
    ...sharedOptions(settings[0]!),
  });
}

/**
 * Groups settings into batches that can run together.
 *
 * @param settings Policies, choices, budgets.
 * @param most Most sequences of a batch.
 * @returns Indices of the settings of each batch.
 * @throws {RequirementError} If a policy or a choice is not allowed.
 */
export function settingBatches(settings: readonly PolicySetting[], most: number): number[][] {
  const families = Map.groupBy(settings.keys(), (index) => {
    const { policy, options, smallBudget, smallLayers, smallCacheBits, matchBy } = settings[index]!;
    const resolved = createPolicy(policy, options);
    const { reduction, weights } = resolved;
    const isCompressed = smallBudget !== undefined;
    const family = [listGranularity(resolved), reduction, weights, indexKey(resolved.index)];
    return JSON.stringify([...family, isCompressed, smallLayers, smallCacheBits, matchBy]);
  });
  return [...families.values()].flatMap((indices) => {
    const count = Math.ceil(indices.length / most);
    const size = Math.ceil(indices.length / count);
    return Array.from({ length: count }, (_, k) => indices.slice(k * size, (k + 1) * size));
  });
}

/**
 * Resolves a setting for one sequence of a batch.
 *
 * @throws {RequirementError} If the policy or a choice is not allowed.
 */
export function sequenceSetting(
  { policy, options, budget, smallBudget }: PolicySetting,
): SequenceSetting {
  return {
    policy: createPolicy(policy, options),
    budget,
    ...(smallBudget && { smallBudget }),
  };
}

/**
 * Resolves a setting for prompts that are run for several settings.
 *
 * @throws {RequirementError} If the policy or a choice is not allowed.
 */
export function promptSetting(setting: PolicySetting): PromptSetting {
  return { ...sequenceSetting(setting), ...sharedOptions(setting) };
}

/** What sequences of a batch share. */
function sharedOptions(
  { smallLayers, smallCacheBits, matchBy }: PolicySetting,
): Pick<SharedOptions, "smallLayers" | "smallCacheBits" | "match"> {
  return {
    ...(smallLayers !== undefined && { smallLayers }),
    ...(smallCacheBits !== undefined && { smallCacheBits }),
    ...(matchBy && { match: { by: matchBy } }),
  };
}

/** Bytes that a batch may take in addition to the weights. */
const BATCH_BYTES = 2 ** 30;
/** More sequences gain nothing: reading the weights is shared among enough rows already. */
const MOST_SEQUENCES = 64;

/**
 * Counts the sequences that a batch may have.
 *
 * @param pair Models.
 * @param capacity Tokens that fit per sequence.
 * @param options Bytes that caches, scores and logits may take, a gibibyte if left out; whether each sequence has a small
 *   model of its own, where one small sequence serves the whole batch if left out; settings that the sequences may have. These
 *   decide what a sequence of the small model takes and whether layers with a window hold all tokens; if left out, they do, and
 *   the small model's cache is whole, in 16 bits.
 * @returns At least 1; each buffer stays within a binding.
 */
export function fittingSequences(
  { large, small }: ModelPair,
  capacity: number,
  { bytes = BATCH_BYTES, hasOwnSmallModel = false, settings }: {
    readonly bytes?: number;
    readonly hasOwnSmallModel?: boolean;
    readonly settings?: readonly PolicySetting[];
  } = {},
): number {
  const { layers, queryHeads, vocabulary } = large.config;
  const holdsAll =
    settings?.some((setting) => readsAllTokens(sequenceSetting(setting).policy, "large")) ?? true;
  const cache = sequenceBytes(large, capacity, holdsAll);
  const sums = 4 * layers * queryHeads * capacity;
  const smallHeads = small ? small.config.layers * small.config.queryHeads : 0;
  const rows = 4 * smallHeads * capacity;
  const logits = 4 * vocabulary;
  const smallCache = small ? mostSmallBytes(small, capacity, settings) : 0;
  const { maxBindingBytes } = large.device.info;
  const layer = fullCacheBytes({ ...large.config, layers: 1, capacity, sequences: 1 });
  const largest = Math.max(sums, rows, logits, layer / 2);
  const each = cache + sums + 2 * rows + logits;
  const fitting = hasOwnSmallModel
    ? bytes / (each + smallCache + rows)
    : (bytes - smallCache) / each;
  const most = Math.min(MOST_SEQUENCES, fitting, maxBindingBytes / largest);
  return Math.max(1, Math.floor(most));
}

/** Bytes of a sequence of the small model under the setting that takes most; its whole cache in 16 bits without settings. */
function mostSmallBytes(
  small: Model,
  capacity: number,
  settings: readonly PolicySetting[] | undefined,
): number {
  if (!settings) return sequenceBytes(small, capacity, true);
  const bytes = settings.map((one) => smallSequenceBytes(small, capacity, promptSetting(one)));
  return Math.max(0, ...bytes);
}

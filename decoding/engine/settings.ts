/**
 * A cache policy with all of its choices as plain data, which experiments vary.
 *
 * @module
 */

import type { CacheBudget } from "../../cache/budget.ts";
import { createPolicy, type PolicyOptions } from "../../cache/policy_options.ts";
import { listGranularity, type SequenceSetting } from "../selection/sequence_settings.ts";
import type { SmallModelCut } from "../scoring/small_model.ts";
import type { ModelPair } from "./types.ts";
import { PolicySession } from "./policy_session.ts";
import { fullCacheBytes } from "../../cache/full_cache.ts";

/** One way to decode. */
export interface PolicySetting extends SmallModelCut {
  /** Name of the policy. */
  readonly policy: string;
  /** Choices that differ from the recommended ones. */
  readonly options?: PolicyOptions;
  /** What is kept of the large model's cache. */
  readonly budget: CacheBudget;
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
    ...layersOption(setting),
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
    ...layersOption(settings[0]!),
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
    const { policy, options, smallBudget, smallLayers } = settings[index]!;
    const resolved = createPolicy(policy, options);
    const { reduction, weights } = resolved;
    const isCompressed = smallBudget !== undefined;
    const family = [listGranularity(resolved), reduction, weights];
    return JSON.stringify([...family, isCompressed, smallLayers]);
  });
  return [...families.values()].flatMap((indices) => {
    const count = Math.ceil(indices.length / most);
    const size = Math.ceil(indices.length / count);
    return Array.from({ length: count }, (_, k) => indices.slice(k * size, (k + 1) * size));
  });
}

function sequenceSetting(
  { policy, options, budget, smallBudget }: PolicySetting,
): SequenceSetting {
  return {
    policy: createPolicy(policy, options),
    budget,
    ...(smallBudget && { smallBudget }),
  };
}

function layersOption({ smallLayers }: PolicySetting): Pick<SmallModelCut, "smallLayers"> {
  return smallLayers === undefined ? {} : { smallLayers };
}

/** Bytes that a batch may take in addition to the weights. */
const BATCH_BYTES = 2 ** 30;
/** More sequences gain nothing: reading the weights is shared among enough rows already. */
const MOST_SEQUENCES = 64;

/**
 * Counts the sequences that a batch may have.
 *
 * @param pair Models; one small model sequence serves the whole batch.
 * @param capacity Tokens that fit per sequence.
 * @returns At least 1; their caches, scores and logits stay within a gibibyte, and each buffer within a binding.
 */
export function fittingSequences({ large, small }: ModelPair, capacity: number): number {
  const { layers, kvHeads, queryHeads, headDim, vocabulary } = large.config;
  const cache = fullCacheBytes({ layers, kvHeads, headDim, capacity, sequences: 1 });
  const sums = 4 * layers * queryHeads * capacity;
  const smallHeads = small ? small.config.layers * small.config.queryHeads : 0;
  const rows = 4 * smallHeads * capacity;
  const logits = 4 * vocabulary;
  const { maxBindingBytes } = large.device.info;
  const largest = Math.max(sums, rows, logits, cache / layers / 2);
  const fitting = Math.min(
    BATCH_BYTES / (cache + sums + 2 * rows + logits),
    maxBindingBytes / largest,
  );
  return Math.max(1, Math.min(MOST_SEQUENCES, Math.floor(fitting)));
}

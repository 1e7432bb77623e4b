/**
 * Options and reports of decoding under policies.
 *
 * @module
 */

import type { CacheBits } from "../../cache/full_cache.ts";
import type { Migration, StoreKind } from "../../cache/kv_store.ts";
import type { Selection } from "../../cache/policy.ts";
import type { Model } from "../../models/load.ts";
import type { SequenceSettingOptions } from "../selection/sequence_settings.ts";
import type { PairMatchOptions } from "../scoring/head_matching.ts";
import type { SharedActivations } from "./shared_activations.ts";

/** A model to compress, and its small model. */
export interface ModelPair {
  /** Model whose cache is compressed. */
  readonly large: Model;
  /** Model of the same family that guides it; not needed by policies without a small model. */
  readonly small?: Model;
}

/** Sizes of a session, and what all of its sequences share. */
export interface SharedOptions {
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Rows of one prefill step; if left out, 512 on GPUs and 128 elsewhere. */
  readonly chunk?: number;
  /** First layers of the small model that run; all of them if left out. */
  readonly smallLayers?: number;
  /** Bits of a number in the small model's cache (D-36); 16 if left out. */
  readonly smallCacheBits?: CacheBits;
  /** How heads are matched (D-3 to D-8). */
  readonly match?: PairMatchOptions;
  /** Where tokens are kept; `resident` if left out. */
  readonly store?: StoreKind;
  /**
   * Tokens of a further turn that are run at once under a policy that drops for good: a block sees what is kept and
   * itself causally, then tokens are dropped, once. 1 if left out, which runs token by token as in decoding; more
   * require the resident store.
   */
  readonly turnBlock?: number;
  /** Whether tokens are always chosen on the host; if left out, only where `plansOnDevice` says so. */
  readonly isPlannedOnHost?: boolean;
  /**
   * Activations that it shares with sessions whose prompts and steps come before or after its own; its own if left out.
   *
   * @internal
   */
  readonly activations?: SharedActivations;
}

/** How a pair decodes: policy and budget of all sequences, or of each (`settings`). */
export type PolicySessionOptions = SharedOptions & SequenceSettingOptions;

/** How a step is run. */
export interface StepOptions {
  /** Tokens to run, one per sequence, instead of the chosen ones. */
  readonly tokens?: readonly number[];
  /** Whether logits are read. */
  readonly logits?: boolean;
  /**
   * Whether the report says what was selected and moved; true if left out. Where the device selects, reading that back
   * takes time; churn and migration then compare with the last step that reported them.
   */
  readonly hasSelections?: boolean;
  /**
   * Most steps, this one included, that may run before tokens are read, where that changes no token: the next calls then
   * report them, and a call that wants something else undoes what nobody has taken. Only without tokens, logits and
   * selections, in a resident store, under policies whose choices need nothing on the host; 1 if left out.
   */
  readonly ahead?: number;
}

/** What a step did. */
export interface StepReport {
  /** Next token of each sequence. */
  readonly chosen: readonly number[];
  /** Logits after the step, [sequences, vocabulary], if requested. */
  readonly logits?: Float32Array;
  /** Tokens that the step's attention saw, [sequence][group]; empty if not requested. */
  readonly selections: readonly (readonly Selection[])[];
  /** Tokens kept after the step, if a policy drops them then, [sequence][group]. */
  readonly after?: readonly (readonly Selection[])[];
  /** Share of each sequence's newest plan that was not in the plan before, mean over head groups; empty if not requested. */
  readonly churn: readonly number[];
  /** What the step's plan moved between host and device; absent if each query head selects alone or if not requested. */
  readonly migration?: Migration;
  /** Steps that the call has run: several where some ran ahead, 0 where an earlier call ran this one; 1 if absent. */
  readonly stepsRun?: number;
}

/** Bytes of keys and values. */
export interface PolicyMemory {
  /**
   * Of the large model, in the buffers that exist on the device, plus a layer's rerotated keys if positions are slots, an
   * index of keys if the policy has one, and sums of values and a layer's means if the rest counts.
   */
  readonly largeCacheBytes: number;
  /**
   * Of the large model, by counting the tokens kept now: 2 * headDim * (2 * full + valueOnly), over KV heads; plus the
   * index of the keys of all tokens if the policy has one.
   */
  readonly largeCacheBytesIdeal: number;
  /** Of the small model, in the buffers that exist on the device. */
  readonly smallCacheBytes: number;
  /**
   * Of the small model, by counting the tokens that its cache keeps: 4 * headDim each, or what a key and a value take in fewer
   * bits, over its KV heads; half of that in the last layer where it stops early and keeps its whole cache.
   */
  readonly smallCacheBytesIdeal: number;
  /** On the host. */
  readonly hostBytes: number;
}

/**
 * What is kept of a sequence, and the rules that decide it.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./budget.ts";
export * from "./full_cache.ts";
export * from "./host_copy.ts";
export * from "./kv_store.ts";
export * from "./options.ts";
export * from "./plan_check.ts";
export * from "./policy.ts";
export * from "./policy_options.ts";
export * from "./pruned_policy.ts";
export * from "./pyramid.ts";
export * from "./pyramid_pruning.ts";
export * from "./residency.ts";
export * from "./resident_store.ts";
export * from "./salient_cut.ts";
export * from "./slot_change.ts";
export * from "./slots.ts";
export * from "./tiered_parts.ts";
export * from "./tiered_pools.ts";
export * from "./tiered_store.ts";
export * from "./tiered_upload.ts";

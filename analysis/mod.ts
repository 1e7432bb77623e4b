/**
 * Pure functions over attention maps and accumulated attention.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./attention_map.ts";
export * from "./bins.ts";
export * from "./error_bound.ts";
export * from "./group_match.ts";
export * from "./head_match.ts";
export * from "./head_saliency.ts";
export * from "./head_search.ts";
export * from "./marginal.ts";
export * from "./null_match.ts";
export * from "./quality.ts";
export * from "./quality_text.ts";
export * from "./row_means.ts";
export * from "./saliency_shift.ts";
export * from "./similarity.ts";
export * from "./words.ts";

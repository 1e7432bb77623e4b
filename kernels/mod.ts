/**
 * Kernels: WGSL, typed contracts and float64 twins.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./argmax.ts";
export * from "./argmax_partial.ts";
export * from "./attention_columns_loops.ts";
export * from "./attention_columns_wgsl.ts";
export * from "./attention_input.ts";
export * from "./attention_map.ts";
export * from "./attention_rows.ts";
export * from "./attention_sums.ts";
export * from "./attention_wgsl.ts";
export * from "./decode_attention.ts";
export * from "./decode_attention_merge.ts";
export * from "./embedding.ts";
export * from "./flash_attention.ts";
export * from "./flash_attention_wgsl.ts";
export * from "./helper_saliency.ts";
export * from "./listed_rows.ts";
export * from "./load_rows.ts";
export * from "./marginal.ts";
export * from "./matmul.ts";
export * from "./matmul_block.ts";
export * from "./matmul_source.ts";
export * from "./plan_by_saliency.ts";
export * from "./rms_norm.ts";
export * from "./rope_cache.ts";
export * from "./scatter_scores.ts";
export * from "./selected_attention.ts";
export * from "./selected_attention_merge.ts";
export * from "./selected_attention_parts.ts";
export * from "./selected_attention_reference.ts";
export * from "./selected_attention_split.ts";
export * from "./selected_attention_wgsl.ts";
export * from "./selection_list.ts";
export * from "./silu_multiply.ts";
export * from "./turn_keys.ts";
export * from "./update_scores.ts";
export * from "./weights/mod.ts";

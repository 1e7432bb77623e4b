/**
 * Kernels: WGSL, typed contracts and float64 twins.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./argmax.ts";
export * from "./argmax_partial.ts";
export * from "./embedding.ts";
export * from "./rms_norm.ts";
export * from "./rope_cache.ts";
export * from "./silu_multiply.ts";
export * from "./attention/attention_columns_loops.ts";
export * from "./attention/attention_columns_wgsl.ts";
export * from "./attention/attention_input.ts";
export * from "./attention/attention_map.ts";
export * from "./attention/attention_rows.ts";
export * from "./attention/attention_sums.ts";
export * from "./attention/attention_wgsl.ts";
export * from "./attention/decode_attention.ts";
export * from "./attention/decode_attention_merge.ts";
export * from "./attention/flash_attention.ts";
export * from "./attention/flash_attention_wgsl.ts";
export * from "./matmul/matmul.ts";
export * from "./matmul/matmul_block.ts";
export * from "./matmul/matmul_source.ts";
export * from "./matmul/weight_format.ts";
export * from "./matmul/weight_reader.ts";
export * from "./matmul/weight_source.ts";
export * from "./selection/helper_saliency.ts";
export * from "./selection/listed_rows.ts";
export * from "./selection/load_rows.ts";
export * from "./selection/marginal.ts";
export * from "./selection/plan_by_saliency.ts";
export * from "./selection/scatter_scores.ts";
export * from "./selection/selected_attention.ts";
export * from "./selection/selected_attention_merge.ts";
export * from "./selection/selected_attention_parts.ts";
export * from "./selection/selected_attention_reference.ts";
export * from "./selection/selected_attention_split.ts";
export * from "./selection/selected_attention_wgsl.ts";
export * from "./selection/selection_list.ts";
export * from "./selection/turn_keys.ts";
export * from "./selection/update_scores.ts";

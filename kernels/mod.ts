/**
 * Kernels: WGSL, typed contracts and float64 twins.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./argmax.ts";
export * from "./attention_columns.ts";
export * from "./attention_cpu.ts";
export * from "./attention_merge.ts";
export * from "./attention_reference.ts";
export * from "./attention_shape.ts";
export * from "./attention_text.ts";
export * from "./attention_tile.ts";
export * from "./cpu_module.ts";
export * from "./embedding.ts";
export * from "./flash_attention.ts";
export * from "./fused_matmul.ts";
export * from "./gate_multiply.ts";
export * from "./half_activations.ts";
export * from "./int8_activations.ts";
export * from "./key_means.ts";
export * from "./key_sketch.ts";
export * from "./listed_rows.ts";
export * from "./load_rows.ts";
export * from "./map_rows.ts";
export * from "./marginal.ts";
export * from "./matched_saliency.ts";
export * from "./matmul.ts";
export * from "./matmul_block.ts";
export * from "./matmul_int8.ts";
export * from "./matmul_matrix.ts";
export * from "./matmul_rounded_block.ts";
export * from "./matmul_source.ts";
export * from "./matmul_tile.ts";
export * from "./matmul_tiled.ts";
export * from "./matmul_tiled_int8.ts";
export * from "./mean_rows.ts";
export * from "./norm_in_place.ts";
export * from "./page_bounds.ts";
export * from "./page_scores.ts";
export * from "./plan_by_saliency.ts";
export * from "./plan_reference.ts";
export * from "./quantized_rows.ts";
export * from "./rerotate_keys.ts";
export * from "./rest_values.ts";
export * from "./rms_norm.ts";
export * from "./rope_cache.ts";
export * from "./rounded_shapes.ts";
export * from "./scatter_scores.ts";
export * from "./selected_attention.ts";
export * from "./selected_reference.ts";
export * from "./selection_list.ts";
export * from "./shapes.ts";
export * from "./sketch_keys.ts";
export * from "./sketch_query.ts";
export * from "./sketch_scores.ts";
export * from "./softcap.ts";
export * from "./softmax_rows.ts";
export * from "./softmax_sums.ts";
export * from "./spread_rows.ts";
export * from "./sum_values.ts";
export * from "./update_scores.ts";
export * from "./wide_plan.ts";
export * from "./write_out.ts";
export * from "./weights/mod.ts";

/**
 * Model files, tokenizers, weights and the forward pass.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./architecture.ts";
export * from "./chat_template.ts";
export * from "./config.ts";
export * from "./config_fields.ts";
export * from "./config_json.ts";
export * from "./dequantize.ts";
export * from "./file_hash.ts";
export * from "./first_layers.ts";
export * from "./forward.ts";
export * from "./gguf.ts";
export * from "./gguf_config.ts";
export * from "./gguf_cursor.ts";
export * from "./gguf_header.ts";
export * from "./gguf_model.ts";
export * from "./gguf_names.ts";
export * from "./head_order.ts";
export * from "./hub.ts";
export * from "./hub_api.ts";
export * from "./hub_cache.ts";
export * from "./hub_download.ts";
export * from "./hub_reference.ts";
export * from "./hub_repository.ts";
export * from "./hub_settings.ts";
export * from "./linear.ts";
export * from "./load.ts";
export * from "./model_files.ts";
export * from "./model_location.ts";
export * from "./packed_weight.ts";
export * from "./packing.ts";
export * from "./packing_blocks.ts";
export * from "./packing_floats.ts";
export * from "./packing_super_blocks.ts";
export * from "./packing_target.ts";
export * from "./padded_heads.ts";
export * from "./ranged_file.ts";
export * from "./rotation.ts";
export * from "./safetensors.ts";
export * from "./safetensors_header.ts";
export * from "./safetensors_model.ts";
export * from "./taps.ts";
export * from "./tensor_check.ts";
export * from "./tensor_source.ts";
export * from "./tokenizer.ts";
export * from "./tokenizer_cache.ts";
export * from "./tokenizer_gguf.ts";
export * from "./tokenizer_offsets.ts";
export * from "./tokenizer_pieces.ts";
export * from "./tokenizer_repair.ts";
export * from "./tokenizer_scores.ts";
export * from "./transformer.ts";
export * from "./vocabulary_hash.ts";
export * from "./weights.ts";
export * from "./whole_file_hash.ts";
export * from "./workspace.ts";

/**
 * Model files, tokenizers, weights and the forward pass.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./architecture.ts";
export * from "./config.ts";
export * from "./config_json.ts";
export * from "./load.ts";
export * from "./open.ts";
export * from "./files/model_location.ts";
export * from "./files/ranged_file.ts";
export * from "./forward/first_layers.ts";
export * from "./forward/forward.ts";
export * from "./forward/linear.ts";
export * from "./forward/rotation.ts";
export * from "./forward/taps.ts";
export * from "./forward/transformer.ts";
export * from "./forward/workspace.ts";
export * from "./gguf/gguf.ts";
export * from "./gguf/gguf_config.ts";
export * from "./gguf/gguf_header.ts";
export * from "./hub/hub.ts";
export * from "./hub/hub_api.ts";
export * from "./hub/hub_cache.ts";
export * from "./hub/hub_download.ts";
export * from "./hub/hub_settings.ts";
export * from "./safetensors/safetensors.ts";
export * from "./tokenizer/chat_template.ts";
export * from "./tokenizer/tokenizer.ts";
export * from "./tokenizer/tokenizer_gguf.ts";
export * from "./tokenizer/tokenizer_json.ts";
export * from "./tokenizer/tokenizer_offsets.ts";
export * from "./tokenizer/vocabulary_hash.ts";
export * from "./weights/heads.ts";
export * from "./weights/packed_weight.ts";
export * from "./weights/packing.ts";
export * from "./weights/tensor_check.ts";
export * from "./weights/tensor_file.ts";
export * from "./weights/tensor_source.ts";
export * from "./weights/weights.ts";

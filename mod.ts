/**
 * SmallKV Lab: run pairs of language models on WebGPU, look at their attention, and repeat what the
 * SmallKV paper measured.
 *
 * What most programs need is here; every topic has an entry of its own with the rest, for example
 * `@smallkv/lab/kernels`.
 *
 * @module
 */

export { DataError, GpuError, UsageError } from "./core/check.ts";
export * from "./data/mod.ts";
export * from "./gpu/mod.ts";
export * from "./analysis/mod.ts";
export * from "./cache/mod.ts";
export { POLICIES } from "./cache/policies/mod.ts";
export { loadModel, type LoadOptions, type Model } from "./models/load.ts";
export type { ModelConfig, RopeScaling } from "./models/config.ts";
export * from "./models/tokenizer/tokenizer.ts";
export * from "./models/tokenizer/vocabulary_hash.ts";
export * from "./decoding/forced/force_tokens.ts";
export * from "./decoding/text/generate.ts";
export * from "./decoding/session/session.ts";
export * from "./decoding/session/trace.ts";
export { EXPERIMENTS } from "./experiments/mod.ts";

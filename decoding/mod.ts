/**
 * Sessions that run a model, decoding under policies, and traces of attention.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./session/fork_cache.ts";
export * from "./session/maps.ts";
export * from "./session/memory_advice.ts";
export * from "./session/real_drop.ts";
export * from "./session/session.ts";
export * from "./session/step_io.ts";
export * from "./session/step_runner.ts";
export * from "./session/taps.ts";
export * from "./session/trace.ts";
export * from "./selection/buffers.ts";
export * from "./selection/cost.ts";
export * from "./selection/head_groups.ts";
export * from "./selection/lists.ts";
export * from "./selection/planner.ts";
export * from "./selection/selected_attention.ts";
export * from "./selection/sequence_settings.ts";
export * from "./selection/tiers.ts";
export * from "./scoring/head_matching.ts";
export * from "./scoring/large_scores.ts";
export * from "./scoring/small_model.ts";
export * from "./engine/batch.ts";
export * from "./engine/checks.ts";
export * from "./engine/parts.ts";
export * from "./engine/policy_session.ts";
export * from "./engine/prompt.ts";
export * from "./engine/pruned_prompt.ts";
export * from "./engine/settings.ts";
export * from "./engine/small_cache.ts";
export * from "./engine/speculative_blocks.ts";
export * from "./engine/speculative_parts.ts";
export * from "./engine/speculative_session.ts";
export * from "./engine/speculative_types.ts";
export * from "./engine/step.ts";
export * from "./engine/store.ts";
export * from "./engine/turn.ts";
export * from "./engine/turn_blocks.ts";
export * from "./engine/types.ts";
export * from "./text/conversation.ts";
export * from "./text/generate.ts";
export * from "./text/loop.ts";
export * from "./text/prompts.ts";
export * from "./text/setup.ts";
export * from "./text/statistics.ts";
export * from "./text/writer.ts";
export * from "./forced/force_tokens.ts";
export * from "./forced/forced_settings.ts";
export * from "./forced/free_run.ts";

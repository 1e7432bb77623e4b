/**
 * Sessions that run a model, decoding under policies, and traces of attention.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./forced/force_tokens.ts";
export * from "./forced/forced_recorder.ts";
export * from "./forced/forced_settings.ts";
export * from "./forced/free_run.ts";
export * from "./generation/conversation.ts";
export * from "./generation/generate.ts";
export * from "./generation/generation_loop.ts";
export * from "./generation/generation_setup.ts";
export * from "./generation/generation_statistics.ts";
export * from "./generation/memory_advice.ts";
export * from "./generation/prompt_tokens.ts";
export * from "./generation/sequence_writer.ts";
export * from "./generation/stop.ts";
export * from "./helper/helper_cache.ts";
export * from "./helper/helper_step.ts";
export * from "./policies/lane_copies.ts";
export * from "./policies/policy_lanes.ts";
export * from "./policies/policy_running.ts";
export * from "./policies/policy_sequence.ts";
export * from "./policies/policy_sequences.ts";
export * from "./policies/policy_session.ts";
export * from "./policies/policy_setting.ts";
export * from "./policies/policy_shape.ts";
export * from "./policies/policy_steps.ts";
export * from "./policies/policy_store.ts";
export * from "./policies/policy_turn.ts";
export * from "./policies/policy_types.ts";
export * from "./policies/real_drop.ts";
export * from "./policies/selected_step.ts";
export * from "./policies/sequence_bytes.ts";
export * from "./policies/turn_blocks.ts";
export * from "./policies/turned_keys.ts";
export * from "./prompts/policy_prompt.ts";
export * from "./prompts/prompt_match.ts";
export * from "./prompts/prompt_parts.ts";
export * from "./prompts/pruned_prompt.ts";
export * from "./selections/device_plan.ts";
export * from "./selections/own_scores.ts";
export * from "./selections/selection_cost.ts";
export * from "./selections/selection_lists.ts";
export * from "./selections/selection_planner.ts";
export * from "./selections/tiers.ts";
export * from "./selections/units.ts";
export * from "./sessions/attention_rows.ts";
export * from "./sessions/checks.ts";
export * from "./sessions/fork_cache.ts";
export * from "./sessions/logits.ts";
export * from "./sessions/map_reader.ts";
export * from "./sessions/session.ts";
export * from "./sessions/session_types.ts";
export * from "./sessions/step_runner.ts";
export * from "./sessions/step_tokens.ts";
export * from "./sessions/tap_access.ts";
export * from "./sessions/trace.ts";
export * from "./speculative/speculative_parts.ts";
export * from "./speculative/speculative_plan.ts";
export * from "./speculative/speculative_runner.ts";
export * from "./speculative/speculative_session.ts";
export * from "./speculative/speculative_statistics.ts";
export * from "./speculative/speculative_steps.ts";
export * from "./speculative/speculative_types.ts";

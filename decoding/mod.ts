/**
 * Sessions that run a model, and traces of its attention.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./attention_rows.ts";
export * from "./checks.ts";
export * from "./conversation.ts";
export * from "./device_plan.ts";
export * from "./force_tokens.ts";
export * from "./forced_recorder.ts";
export * from "./forced_settings.ts";
export * from "./fork_cache.ts";
export * from "./free_run.ts";
export * from "./generate.ts";
export * from "./generation_loop.ts";
export * from "./generation_setup.ts";
export * from "./generation_statistics.ts";
export * from "./helper_cache.ts";
export * from "./helper_step.ts";
export * from "./lane_copies.ts";
export * from "./logits.ts";
export * from "./map_reader.ts";
export * from "./memory_advice.ts";
export * from "./own_scores.ts";
export * from "./policy_lanes.ts";
export * from "./policy_prompt.ts";
export * from "./policy_running.ts";
export * from "./policy_sequence.ts";
export * from "./policy_sequences.ts";
export * from "./policy_session.ts";
export * from "./policy_setting.ts";
export * from "./policy_shape.ts";
export * from "./policy_steps.ts";
export * from "./policy_store.ts";
export * from "./policy_turn.ts";
export * from "./policy_types.ts";
export * from "./prompt_match.ts";
export * from "./prompt_parts.ts";
export * from "./prompt_tokens.ts";
export * from "./pruned_prompt.ts";
export * from "./real_drop.ts";
export * from "./selection_cost.ts";
export * from "./selection_lists.ts";
export * from "./selection_planner.ts";
export * from "./sequence_bytes.ts";
export * from "./sequence_writer.ts";
export * from "./session.ts";
export * from "./session_types.ts";
export * from "./speculative_parts.ts";
export * from "./speculative_plan.ts";
export * from "./speculative_runner.ts";
export * from "./speculative_session.ts";
export * from "./speculative_statistics.ts";
export * from "./speculative_steps.ts";
export * from "./speculative_types.ts";
export * from "./step_runner.ts";
export * from "./step_tokens.ts";
export * from "./stop.ts";
export * from "./tap_access.ts";
export * from "./tiers.ts";
export * from "./trace.ts";
export * from "./units.ts";

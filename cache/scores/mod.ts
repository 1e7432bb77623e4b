/**
 * Scores that tokens are ranked by.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./expected_attention.ts";
export * from "./fading_sum.ts";
export * from "./importance_and_redundancy.ts";
export * from "./key_diff.ts";
export * from "./key_norm.ts";
export * from "./newest_window.ts";
export * from "./observation_window.ts";
export * from "./query_moments.ts";
export * from "./random.ts";
export * from "./reconstruction.ts";
export * from "./score.ts";
export * from "./window.ts";

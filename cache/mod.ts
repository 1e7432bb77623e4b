/**
 * What is kept of a sequence, and the rules that decide it.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./budget.ts";
export * from "./full_cache.ts";
export * from "./policy.ts";
export * from "./policy_options.ts";
export * from "./pyramid.ts";

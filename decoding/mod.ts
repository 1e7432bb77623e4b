/**
 * Sessions that run a model, and traces of its attention.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./checks.ts";
export * from "./logits.ts";
export * from "./map_reader.ts";
export * from "./real_drop.ts";
export * from "./session.ts";
export * from "./step_runner.ts";
export * from "./step_tokens.ts";
export * from "./tap_access.ts";
export * from "./trace.ts";

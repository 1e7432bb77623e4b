/**
 * Checks, errors, numbers and files that everything else builds on.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./atomic_file.ts";
export * from "./bootstrap.ts";
export * from "./check.ts";
export * from "./file_error.ts";
export * from "./float16.ts";
export * from "./json.ts";
export * from "./progress.ts";
export * from "./random.ts";
export * from "./safetensors_writer.ts";
export * from "./stats.ts";
export * from "./terminal_view.ts";

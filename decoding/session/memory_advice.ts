/**
 * What to do when the device is full.
 *
 * @module
 */

import { GpuError } from "../../core/check.ts";

/**
 * Adds to an error of a full device what can be lowered; other errors, and those that say so already, stay as they are.
 *
 * @param error What was thrown.
 * @returns What to throw instead.
 */
export function memoryAdvice(error: unknown): unknown {
  if (!(error instanceof GpuError) || !error.isOutOfMemory) return error;
  const { message } = error;
  return new GpuError(`${message}; shorter or fewer prompts, or fewer new tokens, need less`, {
    cause: error,
  });
}

/**
 * Advice for a device that is out of memory.
 *
 * @module
 */

import { GpuError } from "../../core/check.ts";

/**
 * Adds to an out-of-memory error what can be reduced; other errors stay as they are.
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

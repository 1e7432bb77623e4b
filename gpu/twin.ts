/**
 * Runs the float64 twin of a kernel in place of its code.
 *
 * @module
 */

import { GpuError } from "../core/check.ts";
import { type BoundWindow, boundWindows, completeConstants, roundedParams } from "./commands.ts";
import type { Dispatch } from "./device.ts";
import type { KernelContract, KernelRun } from "./kernel.ts";

/** Memory of a window, and its first byte there. */
export interface WindowMemory {
  /** Holds the bytes. */
  readonly memory: ArrayBufferLike;
  /** First byte of the window. */
  readonly start: number;
}

/**
 * Prepares a dispatch; its constants and parameters are checked at once.
 *
 * @param label What is recorded, for errors.
 * @param memoryOf Finds the memory of a window each time the twin runs.
 * @returns Runs the twin on that memory.
 */
export function prepareTwin(
  label: string,
  dispatch: Dispatch,
  memoryOf: (window: BoundWindow) => WindowMemory,
): () => void {
  const { kernel, grid } = dispatch;
  const constants = completeConstants(kernel, dispatch.constants);
  const params = roundedParams(kernel, dispatch.params);
  const windows = boundWindows(dispatch);
  return () => {
    const buffers: Record<string, Float32Array | Uint32Array> = {};
    for (const window of windows) {
      const { memory, start } = memoryOf(window);
      const length = window.byteLength / 4;
      buffers[window.name] = window.isFloat
        ? new Float32Array(memory, start, length)
        : new Uint32Array(memory, start, length);
    }
    try {
      kernel.reference({ buffers, constants, params, grid } as KernelRun<KernelContract>);
    } catch (cause) {
      throw new GpuError(
        `Cannot run ${label}: the twin of ${kernel.name} must return: ${cause}`,
        { cause },
      );
    }
  };
}

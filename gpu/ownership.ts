/**
 * Refuses what was disposed or belongs to another device, in the same words on every back end.
 *
 * @module
 */

import { GpuError } from "../core/check.ts";

/** Whose something is and whether it still exists. */
export interface Ownership {
  /** Whether it was made by the device asked. */
  readonly isOwn: boolean;
  /** Whether it was disposed. */
  readonly isDestroyed: boolean;
}

/**
 * Throws unless a device exists.
 *
 * @param action What could not be done.
 * @param isDisposed Whether the device was disposed.
 * @throws {GpuError} If it was.
 */
export function checkAlive(action: string, isDisposed: boolean): void {
  if (!isDisposed) return;
  throw new GpuError(`Cannot ${action}: the device must be alive: it was disposed`);
}

/**
 * Throws unless a buffer can be used.
 *
 * @param action What could not be done.
 * @param label What the buffer holds.
 * @param ownership Whose it is.
 * @throws {TypeError} If it belongs to another device.
 * @throws {GpuError} If it was disposed.
 */
export function checkBuffer(action: string, label: string, ownership: Ownership): void {
  if (!ownership.isOwn) {
    throw new TypeError(
      `Cannot ${action}: ${label} must belong to this device: it was made by another`,
    );
  }
  if (!ownership.isDestroyed) return;
  throw new GpuError(`Cannot ${action}: ${label} must be alive: it was disposed`);
}

/**
 * Throws unless a recording can be submitted.
 *
 * @param action What could not be done.
 * @param ownership Whose it is.
 * @throws {GpuError} If it was disposed or belongs to another device.
 */
export function checkRecording(action: string, ownership: Ownership): void {
  if (ownership.isOwn && !ownership.isDestroyed) return;
  const state = ownership.isOwn ? "it was disposed" : "it was made by another";
  throw new GpuError(
    `Cannot ${action}: the recording must be alive and of this device: ${state}`,
  );
}

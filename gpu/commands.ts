/**
 * Checks that all back ends share: of commands before they are recorded, and of buffers and recordings before use.
 *
 * @module
 */

import { checkInteger, GpuError, RequirementError } from "../core/check.ts";
import type {
  BufferCopy,
  BufferWindow,
  Command,
  DeviceBuffer,
  DeviceInfo,
  Dispatch,
} from "./device.ts";
import { type KernelContract, WGSL_EXTENSIONS } from "./kernel.ts";

/** Alignment of the first byte of a window, in bytes. */
export const WINDOW_ALIGNMENT = 256;

/** A bound window with its place in the contract. */
export interface BoundWindow extends BufferWindow {
  /** Name of the binding. */
  readonly name: string;
  /** Whether the kernel writes it. */
  readonly isWritten: boolean;
  /** Whether its elements are `f32`; else `u32`. */
  readonly isFloat: boolean;
}

/** Tells copies from dispatches. */
export function isCopy(command: Command): command is BufferCopy {
  return "source" in command;
}

/**
 * Lists the windows a dispatch binds, in the order of the contract.
 *
 * @param dispatch A dispatch that names a buffer for every binding.
 * @returns One window per binding; a whole buffer is a window at 0.
 */
export function boundWindows(dispatch: Dispatch): BoundWindow[] {
  return Object.entries(dispatch.kernel.bindings).map(([name, binding]) => {
    const given = dispatch.buffers[name]!;
    const window = "buffer" in given
      ? given
      : { buffer: given, byteOffset: 0, byteLength: given.byteLength };
    const { buffer, byteOffset, byteLength } = window;
    const isWritten = binding.startsWith("write");
    return { name, isWritten, isFloat: binding.endsWith("f32"), buffer, byteOffset, byteLength };
  });
}

/**
 * Completes the constants of a kernel.
 *
 * @param given Values that differ from the defaults.
 * @returns Every constant, in the order of the contract.
 * @throws {RequirementError} If a name is not a constant of the kernel.
 */
export function completeConstants(
  kernel: KernelContract,
  given: Readonly<Record<string, number | undefined>> = {},
): Record<string, number> {
  checkNames(kernel.name, "constants", {
    required: Object.keys(kernel.constants),
    current: Object.keys(given).filter((name) => !(name in kernel.constants)),
    isPartial: true,
  });
  const complete: Record<string, number> = {};
  for (const [name, value] of Object.entries(kernel.constants)) {
    complete[name] = given[name] ?? value;
    if (!Number.isFinite(complete[name])) {
      throw new RequirementError({
        action: `use ${kernel.name}`,
        requirement: `constant ${name} must be finite`,
        current: complete[name],
      });
    }
  }
  return complete;
}

/**
 * Packs the fields of `Params` into the words a uniform buffer holds.
 *
 * @returns One word per field, in the order of the contract.
 * @throws {RequirementError} If a field is missing or unknown.
 * @throws {RequirementError} If a `u32` is not an integer from 0 to 2^32 - 1 or an `f32` is not a number.
 */
export function packParams(
  kernel: KernelContract,
  params: Readonly<Record<string, number>>,
): Uint32Array<ArrayBuffer> {
  const names = Object.keys(kernel.params);
  checkNames(kernel.name, "params", {
    required: names,
    current: Object.keys(params),
    isPartial: false,
  });
  const words = new Uint32Array(names.length);
  const floats = new Float32Array(words.buffer);
  for (const [index, name] of names.entries()) {
    const value = params[name]!;
    if (kernel.params[name] === "u32") {
      checkInteger(`use ${kernel.name}`, name, { value, min: 0, max: 2 ** 32 - 1 });
      words[index] = value;
    } else if (Number.isNaN(value) || typeof value !== "number") {
      throw new RequirementError({
        action: `use ${kernel.name}`,
        requirement: `${name} must be a number`,
        current: value,
      });
    } else floats[index] = value;
  }
  return words;
}

/**
 * Gives the fields of `Params` as a shader sees them: `f32` fields rounded to 24 bits.
 *
 * @throws As `packParams`.
 */
export function roundedParams(
  kernel: KernelContract,
  params: Readonly<Record<string, number>>,
): Record<string, number> {
  const words = packParams(kernel, params);
  const floats = new Float32Array(words.buffer);
  const fields = Object.entries(kernel.params);
  return Object.fromEntries(
    fields.map(([name, type], index) => [name, type === "u32" ? words[index]! : floats[index]!]),
  );
}

/**
 * Checks everything about commands that needs no back end.
 *
 * @throws {RequirementError} If a binding lacks a buffer, or a written buffer is bound twice.
 * @throws {RequirementError} If a window or copy lies outside its buffer or is not aligned.
 * @throws {GpuError} If a binding or a grid is larger than the device allows.
 */
export function checkCommands(
  label: string,
  commands: readonly Command[],
  info: DeviceInfo,
): void {
  for (const command of commands) {
    if (isCopy(command)) checkCopy(label, command);
    else checkDispatch(label, command, info);
  }
}

function checkDispatch(label: string, dispatch: Dispatch, info: DeviceInfo): void {
  const { kernel, grid } = dispatch;
  checkNames(kernel.name, "buffers", {
    required: Object.keys(kernel.bindings),
    current: Object.keys(dispatch.buffers),
    isPartial: false,
  });
  const windows = boundWindows(dispatch);
  for (const window of windows) {
    checkWindow(`record ${label}`, `${window.name} of ${kernel.name}`, window);
    if (window.byteLength > info.maxBindingBytes) {
      throw new GpuError(
        `Cannot record ${label}: ${window.name} of ${kernel.name} (${window.buffer.label}) must have at most ${info.maxBindingBytes} bytes: current value is ${window.byteLength}`,
      );
    }
  }
  checkAliases(`record ${label}`, kernel.name, windows);
  for (const [axis, size] of grid.entries()) {
    checkInteger(`record ${label}`, `grid[${axis}] of ${kernel.name}`, { value: size, min: 0 });
    if (size > info.maxGridSize) {
      throw new GpuError(
        `Cannot record ${label}: grid[${axis}] of ${kernel.name} must be at most ${info.maxGridSize}: current value is ${size}`,
      );
    }
  }
  if (kernel.subgroupSize !== undefined && kernel.subgroupSize !== info.subgroupSize) {
    throw new GpuError(
      `Cannot record ${label}: ${kernel.name} must have subgroups of ${kernel.subgroupSize}: current value is ${info.subgroupSize}`,
    );
  }
  checkExtensions(label, kernel, info);
}

/** Devices without features run twins, which need none. */
function checkExtensions(label: string, kernel: KernelContract, { features }: DeviceInfo): void {
  if (features === undefined) return;
  for (const extension of kernel.extensions ?? []) {
    const feature = WGSL_EXTENSIONS[extension];
    if (features.includes(feature)) continue;
    throw new GpuError(
      `Cannot record ${label}: ${kernel.name} must have the feature ${feature}: current features are ${
        features.join(", ") || "none"
      }`,
    );
  }
}

function checkCopy(label: string, copy: BufferCopy): void {
  const { source, sourceOffset, target, targetOffset, byteLength } = copy;
  if (source === target) {
    throw new RequirementError({
      action: `record ${label}`,
      requirement: "source and target of a copy must be two buffers",
      state: `buffer of both is ${source.label}`,
    });
  }
  checkRange(`record ${label}`, source, { byteOffset: sourceOffset, byteLength });
  checkRange(`record ${label}`, target, { byteOffset: targetOffset, byteLength });
}

function checkWindow(action: string, name: string, window: BufferWindow): void {
  const { buffer, byteOffset, byteLength } = window;
  checkRange(action, buffer, window);
  if (byteOffset % WINDOW_ALIGNMENT !== 0) {
    throw new RequirementError({
      action,
      requirement: `the offset of ${name} must be a multiple of ${WINDOW_ALIGNMENT}`,
      current: byteOffset,
    });
  }
  if (byteLength === 0) {
    throw new RequirementError({
      action,
      requirement: `the window of ${name} must hold bytes`,
      current: 0,
    });
  }
}

/**
 * Checks that bytes lie within a buffer and are whole words.
 *
 * @throws {RequirementError} If they do not.
 */
export function checkRange(
  action: string,
  buffer: DeviceBuffer,
  range: { readonly byteOffset: number; readonly byteLength: number },
): void {
  const { byteOffset, byteLength } = range;
  checkInteger(action, `byteOffset in ${buffer.label}`, {
    value: byteOffset,
    min: 0,
    max: buffer.byteLength,
  });
  checkInteger(action, `byteLength in ${buffer.label}`, {
    value: byteLength,
    min: 0,
    max: buffer.byteLength - byteOffset,
  });
  if (byteOffset % 4 === 0 && byteLength % 4 === 0) return;
  throw new RequirementError({
    action,
    requirement: `offset and length in ${buffer.label} must be multiples of 4`,
    state: `values are ${byteOffset} and ${byteLength}`,
  });
}

function checkAliases(action: string, kernel: string, windows: readonly BoundWindow[]): void {
  for (const written of windows) {
    if (!written.isWritten) continue;
    for (const other of windows) {
      if (other === written || other.buffer !== written.buffer) continue;
      const isApart = other.byteOffset >= written.byteOffset + written.byteLength ||
        written.byteOffset >= other.byteOffset + other.byteLength;
      if (other.isWritten && isApart) continue;
      throw new RequirementError({
        action,
        requirement: `${kernel} must not see a buffer it writes through a second binding`,
        state: `buffer of both ${written.name} and ${other.name} is ${written.buffer.label}`,
      });
    }
  }
}

function checkNames(
  kernel: string,
  what: string,
  names: {
    readonly required: readonly string[];
    readonly current: readonly string[];
    readonly isPartial: boolean;
  },
): void {
  const { required, current, isPartial } = names;
  const isComplete = isPartial || required.every((name) => current.includes(name));
  if (isComplete && current.every((name) => required.includes(name))) return;
  throw new RequirementError({
    action: `use ${kernel}`,
    requirement: `its ${what} must be ${required.join(", ") || "none"}`,
    current: current.join(", ") || "none",
  });
}

/**
 * Throws unless a device is alive.
 *
 * @throws {GpuError} If it was disposed.
 */
export function checkAlive(action: string, isDisposed: boolean): void {
  if (!isDisposed) return;
  throw new GpuError(`Cannot ${action}: the device must be alive: current state is disposed`);
}

/**
 * Throws unless a buffer can be used.
 *
 * @param own The buffer as the device made it; undefined if another did.
 * @returns The same.
 * @throws {RequirementError} If it belongs to another device.
 * @throws {GpuError} If it was disposed.
 */
export function checkBuffer<Own extends { readonly isDestroyed: boolean }>(
  action: string,
  label: string,
  own: Own | undefined,
): Own {
  if (own === undefined) {
    throw new RequirementError({
      action,
      requirement: `${label} must belong to this device`,
      state: "owner is another device",
    });
  }
  if (!own.isDestroyed) return own;
  throw new GpuError(`Cannot ${action}: ${label} must be alive: current state is disposed`);
}

/**
 * Throws unless a recording can be submitted.
 *
 * @param own The recording as the device made it; undefined if another did.
 * @returns The same.
 * @throws {GpuError} If it was disposed or belongs to another device.
 */
export function checkRecording<Own extends { readonly isDestroyed: boolean }>(
  action: string,
  own: Own | undefined,
): Own {
  if (own && !own.isDestroyed) return own;
  const state = own ? "current state is disposed" : "current owner is another device";
  throw new GpuError(
    `Cannot ${action}: the recording must be alive and of this device: ${state}`,
  );
}

/**
 * Devices that store numbers and run kernels.
 *
 * Written by `deno task index`.
 *
 * @module
 */

export * from "./commands.ts";
export * from "./device.ts";
export * from "./kernel.ts";
export * from "./meter.ts";
export * from "./open_device.ts";
export * from "./reference_device.ts";
export * from "./webgpu_adapter.ts";
export * from "./webgpu_device.ts";
export * from "./webgpu_errors.ts";
export * from "./webgpu_memory.ts";
export * from "./webgpu_pipelines.ts";

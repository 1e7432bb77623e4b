/**
 * Finds an adapter and requests everything that the kernels can use.
 *
 * @module
 */

import type { DeviceInfo } from "./device.ts";

/** A WebGPU device with its properties. */
export interface OpenGpu {
  /** The device. */
  readonly device: GPUDevice;
  /** Properties of the device. */
  readonly info: DeviceInfo;
  /** Text to put before a shader that calls subgroup functions; empty if its compiler wants none. */
  readonly subgroupDirective: string;
}

/** Limits to raise to what the adapter offers. */
const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupsPerDimension",
] as const;

/**
 * Asks for the fastest adapter.
 *
 * @returns The adapter, if there is one.
 */
export async function requestAdapter(gpu: GPU): Promise<GPUAdapter | undefined> {
  return await gpu.requestAdapter({ powerPreference: "high-performance" }) ?? undefined;
}

/**
 * Opens a device with the largest limits, and with subgroups if it grants them.
 *
 * @returns The device; undefined without an adapter.
 */
export async function openGpu(gpu: GPU): Promise<OpenGpu | undefined> {
  // What the adapter lists does not matter; requestDevice decides.
  for (const hasSubgroups of [true, false]) {
    // An adapter may be used for one request only.
    const adapter = await requestAdapter(gpu);
    if (adapter === undefined) return undefined;
    const device = await tryDevice(adapter, hasSubgroups ? ["subgroups"] : []);
    if (device === undefined) continue;
    return {
      device,
      info: describe(adapter, device, hasSubgroups),
      subgroupDirective: hasSubgroups && await wantsDirective(device) ? "enable subgroups; " : "",
    };
  }
  return undefined;
}

/** Tells whether an adapter computes on the CPU. */
export function isSoftwareAdapter(info: GPUAdapterInfo): boolean {
  const text = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`;
  return info.isFallbackAdapter || /llvmpipe|lavapipe|swiftshader|basic render/i.test(text);
}

/**
 * Names an adapter.
 *
 * @returns Its description, or its other fields.
 */
export function adapterName(info: GPUAdapterInfo): string {
  const parts = [info.vendor, info.architecture, info.device];
  return info.description || parts.filter((part) => part !== "").join(" ") || "unnamed adapter";
}

async function tryDevice(
  adapter: GPUAdapter,
  requiredFeatures: GPUFeatureName[],
): Promise<GPUDevice | undefined> {
  const requiredLimits: Record<string, number> = {};
  for (const name of LIMITS) requiredLimits[name] = adapter.limits[name];
  try {
    return await adapter.requestDevice({ label: "smallkv", requiredFeatures, requiredLimits });
  } catch {
    return undefined;
  }
}

function describe(adapter: GPUAdapter, device: GPUDevice, hasSubgroups: boolean): DeviceInfo {
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  const { limits } = device;
  return {
    backend: "webgpu",
    description: adapterName(adapter.info),
    isSoftware: isSoftwareAdapter(adapter.info),
    subgroupSize: hasSubgroups && subgroupMinSize === subgroupMaxSize ? subgroupMinSize : 0,
    maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
    maxWorkgroupThreads: limits.maxComputeInvocationsPerWorkgroup,
    maxBindingBytes: wholeWords(limits.maxStorageBufferBindingSize),
    maxBufferBytes: wholeWords(limits.maxBufferSize),
    maxGridSize: limits.maxComputeWorkgroupsPerDimension,
  };
}

function wholeWords(byteLength: number): number {
  return byteLength - byteLength % 4;
}

/** Deno's compiler refuses the directive, Chrome's demands it. */
async function wantsDirective(device: GPUDevice): Promise<boolean> {
  device.pushErrorScope("validation");
  device.createShaderModule({
    label: "subgroup probe",
    code: "enable subgroups; @compute @workgroup_size(1) fn probe() {}",
  });
  return await device.popErrorScope() === null;
}

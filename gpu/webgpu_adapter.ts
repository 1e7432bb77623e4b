/**
 * Finds an adapter and requests everything that the kernels can use.
 *
 * @module
 */

import { GpuError, RequirementError } from "../core/check.ts";
import {
  ACTIVATION_BITS,
  type ActivationBits,
  type Backend,
  type DeviceInfo,
  roundingNote,
  type SubgroupMatrixShape,
} from "./device.ts";
import { driverOf } from "./driver.ts";
import { oneLine } from "./webgpu_errors.ts";

/** A WebGPU device with its properties. */
export interface OpenGpu {
  /** The device. */
  readonly device: GPUDevice;
  /** Properties of the device. */
  readonly info: DeviceInfo;
  /** Text to put before a shader that calls subgroup functions; empty if its compiler wants none. */
  readonly subgroupDirective: string;
}

/** How a device is opened. */
export interface OpenGpuOptions {
  /** Whose WebGPU it is; Deno's or a browser's if left out. */
  readonly backend?: Extract<Backend, "webgpu" | "dawn">;
  /** Features without which it must not open. */
  readonly requiredFeatures?: readonly string[];
  /** Bits to which activations are rounded before products; not at all if left out. */
  readonly activationBits?: ActivationBits;
}

/** Something that offers adapters, and what its compiler knows. */
export type GpuEntry =
  & Pick<GPU, "requestAdapter">
  & { readonly wgslLanguageFeatures?: ReadonlySet<string> };

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
 * What every kernel may count on: the least that WebGPU guarantees. Adapters for compatibility with old graphics interfaces
 * have less.
 */
export const NEEDED_LIMITS: Readonly<Partial<Record<(typeof LIMITS)[number], number>>> = {
  maxStorageBufferBindingSize: 128 * 2 ** 20,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupsPerDimension: 65535,
};

/** Multiplies matrices by a subgroup; beyond the standard, so that types do not know it. */
const SUBGROUP_MATRIX = "chromium-experimental-subgroup-matrix";

const HALVES = "shader-f16";

/** Features that are asked for where the adapter lists them. */
const LISTED_FEATURES: readonly string[] = [HALVES, "timestamp-query", SUBGROUP_MATRIX];

/** Multiplies four integers of 8 bits with four; a feature of the compiler. */
const BYTE_PRODUCTS = "packed_4x8_integer_dot_product";

/**
 * Asks for the fastest adapter.
 *
 * @returns The adapter, if there is one.
 */
export async function requestAdapter(gpu: GpuEntry): Promise<GPUAdapter | undefined> {
  return await gpu.requestAdapter({ powerPreference: "high-performance" }) ?? undefined;
}

/**
 * Opens a device with the largest limits, and with the features that kernels can use if it grants them.
 *
 * @returns The device; undefined without an adapter.
 * @throws {GpuError} If the adapter lacks a limit, a required feature or what rounded activations need, or grants no device.
 * @throws {RequirementError} If activations are to have other bits than 8 or 16.
 */
export async function openGpu(
  gpu: GpuEntry,
  { backend = "webgpu", requiredFeatures = [], activationBits }: OpenGpuOptions = {},
): Promise<OpenGpu | undefined> {
  const required = [...requiredFeatures, ...(activationBits === 16 ? [HALVES] : [])];
  let refusal = "";
  // Deno grants subgroups that its adapters do not list; requestDevice decides.
  for (const optional of [["subgroups", ...LISTED_FEATURES], ["subgroups"], []]) {
    // An adapter may be used for one request only.
    const adapter = await requestAdapter(gpu);
    if (adapter === undefined) return undefined;
    checkLimits(adapter);
    checkRounding(gpu, adapter, activationBits);
    checkFeatures(adapter, requiredFeatures);
    const listed = optional.filter((name) => name === "subgroups" || has(adapter, name));
    const features = [...new Set([...required, ...listed])];
    const device = await tryDevice(adapter, features);
    if (typeof device === "string") {
      refusal = device;
      continue;
    }
    const hasSubgroups = features.includes("subgroups");
    return {
      device,
      info: describe(adapter, device, { backend, features, activationBits }),
      subgroupDirective: hasSubgroups && await wantsDirective(device) ? "enable subgroups; " : "",
    };
  }
  throw new GpuError(
    `Cannot use a GPU: its driver must grant a device: ${refusal}: install a newer driver, or choose the device cpu`,
  );
}

/** Tells whether an adapter computes on the CPU. */
export function isSoftwareAdapter(info: GPUAdapterInfo): boolean {
  const text = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`;
  return info.isFallbackAdapter || /llvmpipe|lavapipe|swiftshader|basic render/i.test(text);
}

/**
 * Names an adapter.
 *
 * @param backend Whose adapter it is: Dawn describes its driver, all others the device.
 * @returns Its description, or its other fields.
 */
export function adapterName(info: GPUAdapterInfo, backend: Backend = "webgpu"): string {
  const { vendor, architecture, device, description } = info;
  if (backend === "dawn" && device !== "") return device;
  const parts = [vendor, architecture, device].filter((part) => part !== "");
  return description || parts.join(" ") || "unnamed adapter";
}

/** Name and version of the driver of an adapter, where they can be known. */
export function adapterDriver(
  info: GPUAdapterInfo,
  backend: Backend = "webgpu",
): string | undefined {
  return backend === "dawn" ? info.description || undefined : driverOf(info.description);
}

function has(adapter: GPUAdapter, feature: string): boolean {
  return adapter.features.has(feature as GPUFeatureName);
}

function checkLimits(adapter: GPUAdapter): void {
  for (const [name, needed] of Object.entries(NEEDED_LIMITS)) {
    const value = adapter.limits[name as (typeof LIMITS)[number]];
    if (value >= needed) continue;
    throw new GpuError(
      `Cannot use ${
        adapterName(adapter.info)
      }: its ${name} must be at least ${needed}: current value is ${value}: install a newer driver, or choose the device cpu`,
    );
  }
}

/** Products of rounded activations run on what multiplies such numbers, never on something slower that is as inexact. */
function checkRounding(
  { wgslLanguageFeatures }: GpuEntry,
  adapter: GPUAdapter,
  bits: ActivationBits | undefined,
): void {
  if (bits === undefined) return;
  if (!ACTIVATION_BITS.includes(bits)) {
    throw new RequirementError({
      action: "open a device",
      requirement: `activationBits must be one of ${ACTIVATION_BITS.join(", ")}`,
      current: bits,
    });
  }
  const isThere = bits === 16 ? has(adapter, HALVES) : wgslLanguageFeatures?.has(BYTE_PRODUCTS);
  if (isThere) return;
  const offered = [...bits === 16 ? adapter.features : wgslLanguageFeatures ?? []].sort();
  throw new GpuError(
    `Cannot use ${adapterName(adapter.info)} with ${bits}-bit activations: it must offer ${
      bits === 16 ? HALVES : BYTE_PRODUCTS
    }: current features are ${
      offered.join(", ") || "none"
    }: leave out activation bits, or choose the device cpu`,
  );
}

function checkFeatures(adapter: GPUAdapter, required: readonly string[]): void {
  for (const name of required) {
    if (name === "subgroups" || has(adapter, name)) continue;
    const offered = [...adapter.features].sort().join(", ");
    throw new GpuError(
      `Cannot use ${
        adapterName(adapter.info)
      }: it must offer ${name}: current features are ${offered}: leave it out of requiredFeatures, or install a driver that has it`,
    );
  }
}

/** The device, or why it was refused. */
async function tryDevice(
  adapter: GPUAdapter,
  features: readonly string[],
): Promise<GPUDevice | string> {
  const requiredLimits: Record<string, number> = {};
  for (const name of LIMITS) requiredLimits[name] = adapter.limits[name];
  const requiredFeatures = features as GPUFeatureName[];
  try {
    return await adapter.requestDevice({ label: "smallkv", requiredFeatures, requiredLimits });
  } catch (error) {
    return oneLine(error instanceof Error ? error.message : String(error));
  }
}

function describe(
  adapter: GPUAdapter,
  device: GPUDevice,
  { backend, features, activationBits }: Required<Pick<OpenGpuOptions, "backend">> & {
    readonly features: readonly string[];
    readonly activationBits: ActivationBits | undefined;
  },
): DeviceInfo {
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  const isFixed = features.includes("subgroups") && subgroupMinSize === subgroupMaxSize;
  const { limits } = device;
  const driver = adapterDriver(adapter.info, backend);
  return {
    backend,
    description: `${adapterName(adapter.info, backend)}${roundingNote(activationBits)}`,
    ...(activationBits !== undefined && { activationBits }),
    ...(driver !== undefined && { driver }),
    isSoftware: isSoftwareAdapter(adapter.info),
    features: [...features].sort(),
    ...(features.includes(SUBGROUP_MATRIX) && { subgroupMatrices: matricesOf(adapter.info) }),
    subgroupSize: isFixed ? subgroupMinSize : 0,
    maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
    maxWorkgroupThreads: limits.maxComputeInvocationsPerWorkgroup,
    maxBindingBytes: wholeWords(limits.maxStorageBufferBindingSize),
    maxBufferBytes: wholeWords(limits.maxBufferSize),
    maxGridSize: limits.maxComputeWorkgroupsPerDimension,
  };
}

function matricesOf(info: GPUAdapterInfo): SubgroupMatrixShape[] {
  const { subgroupMatrixConfigs = [] } = info as GPUAdapterInfo & {
    readonly subgroupMatrixConfigs?: Iterable<SubgroupMatrixShape>;
  };
  return [...subgroupMatrixConfigs].map(({ M, N, K, componentType, resultComponentType }) => ({
    ...{ M, N, K },
    ...{ componentType, resultComponentType },
  }));
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

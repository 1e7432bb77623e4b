/**
 * Opens the device that everything else runs on.
 *
 * @module
 */

import { checkInteger, GpuError, RequirementError } from "../core/check.ts";
import { CpuDevice, type CpuDeviceOptions } from "./cpu_device.ts";
import { noAdapter, sharedDawn } from "./dawn.ts";
import { type Backend, BACKENDS, type Device, type DeviceOptions } from "./device.ts";
import { ReferenceDevice } from "./reference_device.ts";
import {
  adapterDriver,
  adapterName,
  isSoftwareAdapter,
  openGpu,
  requestAdapter,
} from "./webgpu_adapter.ts";
import { WebgpuDevice } from "./webgpu_device.ts";

/** Which device to open. An option that the back end cannot heed is refused; with `auto`, it counts where it can. */
export interface OpenDeviceOptions extends CpuDeviceOptions {
  /**
   * Back end; `auto` (the default) takes WebGPU if there is a hardware adapter, else the CPU. `dawn` is a native library that
   * needs the permission `--allow-ffi`; a project other than this one downloads it on first use.
   */
  readonly backend?: "auto" | Backend;
}

/** What an adapter says about itself before a device is opened. */
export interface AdapterSummary {
  /** Adapter name as the driver prints it. */
  readonly description: string;
  /** Driver and version in the driver's words; absent where they cannot be known. */
  readonly driver?: string;
  /** Whether it computes on the CPU. */
  readonly isSoftware: boolean;
  /** Features it lists, sorted. */
  readonly features: readonly string[];
  /** Largest binding of a storage buffer, in bytes. */
  readonly maxBindingBytes: number;
  /** Largest buffer, in bytes. */
  readonly maxBufferBytes: number;
  /** Workgroup memory, in bytes. */
  readonly maxWorkgroupBytes: number;
}

/** Opens a back end; undefined if this machine cannot run it. */
type Opener = (options: CpuDeviceOptions) => Promise<Device | undefined>;

/** Variable with the names of the back ends in which Deno looks for adapters. */
const BACKEND_VARIABLE = "DENO_WEBGPU_BACKEND";

const OPENERS: Readonly<Record<Backend, Opener>> = {
  webgpu: openWebgpu,
  dawn: openDawn,
  cpu: (options) => Promise.resolve(new CpuDevice(options)),
  reference: (options) => Promise.resolve(new ReferenceDevice(options)),
};

/**
 * Opens a device.
 *
 * @param options Back end and caps.
 * @returns The device; dispose of it to free its memory.
 * @throws {GpuError} If the requested back end has no adapter here, or one that lacks what kernels or `requiredFeatures` need;
 *   the message says what to do.
 * @throws {RequirementError} If there is no such back end, or it cannot heed an option: threads, shapes of kernels, bits of
 *   activations, features.
 */
export async function openDevice(options: OpenDeviceOptions = {}): Promise<Device> {
  const { backend = "auto", maxBytes } = options;
  if (maxBytes !== undefined) {
    checkInteger("open a device", "maxBytes", { value: maxBytes, min: 0 });
  }
  const name = backend === "auto" ? await automaticBackend() : backend;
  const opener = OPENERS[name];
  if (opener === undefined) {
    throw new RequirementError({
      action: "open a device",
      requirement: `backend must be one of auto, ${BACKENDS.join(", ")}`,
      current: name,
    });
  }
  // What `auto` takes depends on the machine, so that only what must be there is refused.
  const { requiredFeatures } = options;
  checkHeeded(
    name,
    backend === "auto" ? { ...(requiredFeatures && { requiredFeatures }) } : options,
  );
  const device = await opener(options);
  if (device !== undefined) return device;
  const wanted = backendVariable();
  throw new GpuError(
    `Cannot use a GPU: there must be a WebGPU adapter${
      wanted === undefined ? "" : ` of the back ends that ${BACKEND_VARIABLE} names, ${wanted}`
    }: current number is 0: install a Vulkan driver, or choose the CPU device`,
  );
}

/** Options that some back ends alone heed: the option in words, and those back ends. */
const HEEDED = {
  threads: { what: "a number of threads", backends: ["cpu"] },
  shapes: { what: "shapes of kernels", backends: ["webgpu", "dawn"] },
  requiredFeatures: { what: "features of WebGPU", backends: ["webgpu", "dawn"] },
  activationBits: { what: "bits of activations", backends: ["webgpu", "dawn", "cpu"] }, // twins are exact
} as const satisfies Partial<
  Record<keyof OpenDeviceOptions, { readonly what: string; readonly backends: readonly Backend[] }>
>;

/** Options that some back ends alone heed. */
export type HeededOptions = Pick<OpenDeviceOptions, keyof typeof HEEDED>;

/** Whether a back end heeds an option. */
export function heeds(backend: Backend, option: keyof HeededOptions): boolean {
  const backends: readonly Backend[] = HEEDED[option].backends;
  return backends.includes(backend);
}

/**
 * Throws if a back end would pass over an option that was given.
 *
 * @param backend The back end.
 * @param options What was given.
 * @throws {RequirementError} If it would; the message names the back ends that heed the option.
 */
export function checkHeeded(backend: Backend, options: HeededOptions): void {
  for (const name of Object.keys(HEEDED) as (keyof HeededOptions)[]) {
    if (options[name] === undefined || heeds(backend, name)) continue;
    const { what, backends } = HEEDED[name];
    throw new RequirementError({
      action: `open a device with ${what}`,
      requirement: `the device must be ${backends.join(" or ")}`,
      current: backend,
    });
  }
}

/** What limits Deno's search for adapters; undefined in browsers, too. */
function backendVariable(): string | undefined {
  try {
    return globalThis.Deno?.env.get(BACKEND_VARIABLE);
  } catch {
    return undefined; // without the permission to read it
  }
}

/** A software adapter computes on the CPU as well, and much slower than WebAssembly does. */
async function automaticBackend(): Promise<Backend> {
  const adapter = await adapterSummary();
  return adapter === undefined || adapter.isSoftware ? "cpu" : "webgpu";
}

/**
 * Looks at the adapter that `openDevice` would use, without opening it.
 *
 * @returns What it says about itself; undefined without an adapter.
 */
export async function adapterSummary(): Promise<AdapterSummary | undefined> {
  const gpu = webgpu();
  const adapter = gpu && await requestAdapter(gpu);
  if (adapter === undefined) return undefined;
  const { info, features, limits } = adapter;
  const driver = adapterDriver(info);
  return {
    description: adapterName(info),
    ...(driver !== undefined && { driver }),
    isSoftware: isSoftwareAdapter(info),
    features: [...features].sort(),
    maxBindingBytes: limits.maxStorageBufferBindingSize,
    maxBufferBytes: limits.maxBufferSize,
    maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
  };
}

async function openWebgpu(options: DeviceOptions): Promise<Device | undefined> {
  const gpu = webgpu();
  const open = gpu && await openGpu(gpu, { ...options, backend: "webgpu" });
  return open && new WebgpuDevice(open, options);
}

async function openDawn(options: DeviceOptions): Promise<Device> {
  const dawn = await sharedDawn();
  const open = await openGpu(dawn, { ...options, backend: "dawn" });
  if (open === undefined) throw noAdapter(dawn.warnings);
  return new WebgpuDevice(open, options);
}

/** The entry point of WebGPU; older browsers and other runtimes have none. */
function webgpu(): GPU | undefined {
  return (globalThis.navigator as { readonly gpu?: GPU } | undefined)?.gpu;
}

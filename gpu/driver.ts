/**
 * Which driver, in which version, runs an adapter of Deno's WebGPU.
 *
 * @module
 */

import type { DeviceInfo } from "./device.ts";
import { type VulkanDriver, vulkanDrivers } from "./vulkan_drivers.ts";

/** Variable in which a launcher leaves the drivers that it found, as JSON, so that a command needs no permission to ask. */
export const DRIVERS_VARIABLE = "SMALLKV_DRIVERS";

/** Stands for a driver that cannot be known. */
const UNKNOWN_DRIVER = "unknown version";

/**
 * What a result says of the driver that computed it.
 *
 * @param info The device.
 * @returns An entry with the driver, or with `unknown version`; none where no driver computes.
 */
export function driverEntry(
  { backend, driver }: Pick<DeviceInfo, "backend" | "driver">,
): { readonly driver?: string } {
  const hasDriver = backend === "webgpu" || backend === "dawn";
  return hasDriver ? { driver: driver ?? UNKNOWN_DRIVER } : {};
}

/** Drivers are asked once, since asking loads all of them. */
const asked = new Map<"vulkan", readonly VulkanDriver[]>();

/**
 * Names the driver of an adapter.
 *
 * @param device Name of the adapter, which is that of its Vulkan device.
 * @param drivers Drivers of this machine.
 * @returns Name and version in the driver's words; undefined if no driver, or several different ones, have such a device.
 */
export function driverOf(
  device: string,
  drivers: readonly VulkanDriver[] = localDrivers(),
): string | undefined {
  const found = new Set(drivers.filter((one) => one.device === device).map(({ driver }) => driver));
  const [driver] = found;
  return found.size === 1 && driver !== "" ? driver : undefined;
}

/** Those that a launcher found, or that this process may ask. */
function localDrivers(): readonly VulkanDriver[] {
  const known = asked.get("vulkan");
  if (known !== undefined) return known;
  const found = fromLauncher() ?? (mayAsk() ? vulkanDrivers() : []);
  asked.set("vulkan", found);
  return found;
}

function fromLauncher(): readonly VulkanDriver[] | undefined {
  try {
    const text = globalThis.Deno?.env.get(DRIVERS_VARIABLE);
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined; // without the permission to read it, or not from a launcher
  }
}

/** Browsers have no drivers to ask, and a missing permission must not be asked for. */
function mayAsk(): boolean {
  return globalThis.Deno?.permissions.querySync({ name: "ffi" }).state === "granted";
}

/**
 * Asks for the Vulkan drivers of this machine in a process of its own, since one that is broken may end it.
 *
 *     deno run --allow-ffi tools/drivers.ts
 *
 * @module
 */

import { type VulkanDriver, vulkanDrivers } from "../gpu/vulkan_drivers.ts";

/** Longest time that all drivers together may take to load. */
const TIMEOUT_MS = 60_000;

/**
 * Finds the devices of Vulkan and their drivers.
 *
 * @param env Environment of the process that asks, beside that of this one.
 * @returns Every device; none where there is no loader or a driver ended the process.
 */
export async function findDrivers(
  env: Readonly<Record<string, string>>,
): Promise<readonly VulkanDriver[]> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-config", "--no-lock", "--allow-ffi", import.meta.filename!],
    env: { ...env, NO_COLOR: "1" },
    signal: AbortSignal.timeout(TIMEOUT_MS),
    stderr: "null",
  }).output();
  return success ? JSON.parse(new TextDecoder().decode(stdout)) : [];
}

if (import.meta.main) console.log(JSON.stringify(vulkanDrivers()));

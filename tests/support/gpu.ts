/**
 * Devices for tests.
 *
 * @module
 */

import type { Backend, Device } from "../../gpu/device.ts";
import { adapterSummary, openDevice } from "../../gpu/open_device.ts";

// Deno also loads OpenGL to look for adapters there. Its library frees thread state twice when a test worker ends while the
// process exits, which aborts about one run in 150.
if (Deno.build.os === "linux" && Deno.env.get("DENO_WEBGPU_BACKEND") === undefined) {
  Deno.env.set("DENO_WEBGPU_BACKEND", "vulkan");
}

/** Whether this machine has a WebGPU adapter; a software adapter counts. */
export const hasGpu: boolean = await adapterSummary() !== undefined;

if (!hasGpu) console.warn("Tests that need a GPU are skipped: no WebGPU adapter was found");

/** Back ends that tests can run on this machine. */
export const testBackends: readonly Backend[] = hasGpu ? ["webgpu", "reference"] : ["reference"];

const shared = new Map<Backend, Promise<Device>>();

/**
 * Gives a device that the tests of a process share, so that each kernel is compiled once.
 *
 * @param backend Back end; WebGPU if left out.
 * @returns The device; do not dispose of it.
 */
export function testDevice(backend: Backend = "webgpu"): Promise<Device> {
  const known = shared.get(backend) ?? openDevice({ backend });
  shared.set(backend, known);
  return known;
}

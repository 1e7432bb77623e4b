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
export const testBackends: readonly Backend[] = hasGpu
  ? ["webgpu", "cpu", "reference"]
  : ["cpu", "reference"];

/** A test of one kernel, for each back end that runs kernels as code. */
export interface KernelTest {
  /** What it tests. */
  readonly name: string;
  /** The test, given the device. */
  fn(device: Device): Promise<void>;
}

/**
 * Registers a test for WebGPU, where there is an adapter, and for the CPU device.
 *
 * @param test The test.
 */
export function kernelTest({ name, fn }: KernelTest): void {
  for (const backend of ["webgpu", "cpu"] as const) {
    Deno.test({
      name: `${name} (${backend})`,
      ignore: backend === "webgpu" && !hasGpu,
      fn: async () => await fn(await testDevice(backend)),
    });
  }
}

const shared = new Map<Backend, Promise<Device>>();

/**
 * Gives a device that the tests of a process share, so that each kernel is compiled once.
 *
 * @param backend Back end; WebGPU if left out.
 * @returns The device; do not dispose of it.
 */
export function testDevice(backend: Backend = "webgpu"): Promise<Device> {
  // Without threads nothing outlives a test; how many there are changes no bit of a result.
  const known = shared.get(backend) ?? openDevice({ backend, threads: 0 });
  shared.set(backend, known);
  return known;
}

/**
 * Devices for tests.
 *
 * @module
 */

import { sharedDawn } from "../../gpu/dawn.ts";
import type { Backend, Device } from "../../gpu/device.ts";
import { adapterSummary, openDevice } from "../../gpu/open_device.ts";
import { type OpenGpu, openGpu } from "../../gpu/webgpu_adapter.ts";
import { TEST_DEVICE_VARIABLE } from "../../tools/test_device.ts";

// Deno also loads OpenGL to look for adapters there. Its library frees thread state twice when a test worker ends while the
// process exits, which aborts about one run in 150.
if (Deno.build.os === "linux" && Deno.env.get("DENO_WEBGPU_BACKEND") === undefined) {
  Deno.env.set("DENO_WEBGPU_BACKEND", "vulkan");
}

/** WebGPU that tests run on: Deno's, or Dawn's with `deno task test --device dawn`. */
export const gpuBackend: "webgpu" | "dawn" = Deno.env.get(TEST_DEVICE_VARIABLE) === "dawn"
  ? "dawn"
  : "webgpu";

/** Whether this machine has a WebGPU adapter; a software adapter counts. Dawn that is asked for must be there. */
export const hasGpu: boolean = gpuBackend === "dawn" || await adapterSummary() !== undefined;

if (!hasGpu) console.warn("Tests that need a GPU are skipped: no WebGPU adapter was found");

/** Back ends that tests can run on this machine. */
export const testBackends: readonly Backend[] = hasGpu
  ? [gpuBackend, "cpu", "reference"]
  : ["cpu", "reference"];

/**
 * Opens the WebGPU that tests run on, for tests that change what it does.
 *
 * @returns The device of WebGPU with its properties.
 */
export async function openTestGpu(): Promise<OpenGpu> {
  const gpu = gpuBackend === "dawn" ? await sharedDawn() : navigator.gpu;
  return (await openGpu(gpu, { backend: gpuBackend }))!;
}

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
  for (const backend of [gpuBackend, "cpu"] as const) {
    Deno.test({
      name: `${name} (${backend})`,
      ignore: backend === gpuBackend && !hasGpu,
      fn: async () => await fn(await testDevice(backend)),
    });
  }
}

const shared = new Map<Backend, Promise<Device>>();

/**
 * Gives a device that the tests of a process share, so that each kernel is compiled once.
 *
 * @param backend Back end; the WebGPU that tests run on if left out.
 * @returns The device; do not dispose of it.
 */
export function testDevice(backend: Backend = gpuBackend): Promise<Device> {
  // Without threads nothing outlives a test; how many there are changes no bit of a result.
  const known = shared.get(backend) ??
    openDevice({ backend, ...(backend === "cpu" && { threads: 0 }) });
  shared.set(backend, known);
  return known;
}

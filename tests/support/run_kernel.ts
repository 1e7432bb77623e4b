/**
 * Runs one kernel on arrays, on the GPU or as its twin.
 *
 * @module
 */

import { type Device, type DeviceBuffer, dispatch } from "../../gpu/device.ts";
import type { Kernel, KernelArrays, KernelContract } from "../../gpu/kernel.ts";
import { ReferenceDevice } from "../../gpu/reference_device.ts";
import { testDevice } from "./gpu.ts";

/** One run of a kernel on arrays. */
export interface ArrayRun<C extends KernelContract> {
  /** Contents of every buffer before the run; fill outputs with NaN so that an element left out fails. */
  readonly buffers: KernelArrays<C>;
  /** Constants that differ from their defaults. */
  readonly constants?: { readonly [Name in keyof C["constants"]]?: number };
  /** Every field of `Params`. */
  readonly params: { readonly [Name in keyof C["params"]]: number };
  /** Workgroups along x, y and z. */
  readonly grid: readonly [number, number, number];
}

/**
 * Runs a kernel on the GPU.
 *
 * @param run Its arrays, which stay as they are, and parameters.
 * @param options Another device than the shared one.
 * @returns Every array as it is after the run.
 */
export async function runKernel<C extends KernelContract>(
  kernel: Kernel<C>,
  run: ArrayRun<C>,
  options: { readonly device?: Device } = {},
): Promise<KernelArrays<C>> {
  const device = options.device ?? await testDevice();
  const buffers: Record<string, DeviceBuffer> = {};
  try {
    for (const [name, values] of entries(run.buffers)) {
      buffers[name] = device.createBuffer(name, Math.max(4, values.byteLength));
      device.write(buffers[name], 0, values.slice());
    }
    const command = dispatch({ ...run, kernel, buffers } as Parameters<typeof dispatch<C>>[0]);
    using recording = await device.record(kernel.name, [command]);
    device.submit(recording);
    const after = entries(run.buffers).map(async ([name, values]) => {
      if (kernel.bindings[name]!.startsWith("read")) return [name, values];
      const bytes = await device.read(buffers[name]!, 0, values.byteLength);
      return [
        name,
        values instanceof Float32Array ? new Float32Array(bytes) : new Uint32Array(bytes),
      ];
    });
    return Object.fromEntries(await Promise.all(after));
  } finally {
    for (const buffer of Object.values(buffers)) buffer[Symbol.dispose]();
  }
}

/**
 * Runs the twin of a kernel.
 *
 * @param run Its arrays, which stay as they are, and parameters.
 * @returns Every array as it is after the run.
 */
export async function runReference<C extends KernelContract>(
  kernel: Kernel<C>,
  run: ArrayRun<C>,
): Promise<KernelArrays<C>> {
  using device = new ReferenceDevice();
  return await runKernel(kernel, run, { device });
}

function entries(
  buffers: Readonly<Record<string, Float32Array | Uint32Array>>,
): [string, Float32Array | Uint32Array][] {
  return Object.entries(buffers);
}

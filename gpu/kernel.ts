/**
 * What a kernel is: WGSL source, typed contract, float64 twin.
 *
 * @module
 */

import type { CpuCode } from "./cpu_module.ts";

/** How a kernel uses a storage buffer, and what the buffer holds; packed halves and bytes count as `u32`. */
export type Binding = "read f32" | "read u32" | "write f32" | "write u32";

/** Scalar types a uniform `Params` field may have. */
export type ParamType = "u32" | "f32";

/** Name of an extension of WGSL in an `enable` directive. */
export type WgslExtension = "f16" | "chromium_experimental_subgroup_matrix";

/** Features of WebGPU that devices need for the extensions. */
export const WGSL_EXTENSIONS: Readonly<Record<WgslExtension, string>> = {
  f16: "shader-f16",
  chromium_experimental_subgroup_matrix: "chromium-experimental-subgroup-matrix",
};

/** Everything a device needs to know to run a kernel. */
export interface KernelContract {
  /** File stem, WGSL entry point and pipeline label. */
  readonly name: string;
  /** WGSL source; compiles alone. */
  readonly wgsl: string;
  /** Storage buffers of group 0, in binding order. `write` is `read_write` in WGSL. */
  readonly bindings: Readonly<Record<string, Binding>>;
  /** Names and defaults of `override` constants. */
  readonly constants: Readonly<Record<string, number>>;
  /** Fields of the uniform `Params` struct, group 1 binding 0, in order; empty if there is none. */
  readonly params: Readonly<Record<string, ParamType>>;
  /** Bytes of workgroup memory with the default constants; 0 if none. */
  readonly workgroupBytes?: number;
  /** Set if the WGSL calls subgroup functions; the device must then offer this subgroup size. */
  readonly subgroupSize?: number;
  /** Extensions of WGSL that the source uses; a device on WebGPU enables them, and must have their features. */
  readonly extensions?: readonly WgslExtension[];
}

/** Typed array that stands for a buffer of a kernel on the CPU. */
export type ArrayOf<B> = B extends `${string} f32` ? Float32Array
  : B extends `${string} u32` ? Uint32Array
  : never;

/** Typed arrays that stand for the buffers of a kernel on the CPU. */
export type KernelArrays<C extends KernelContract> = {
  readonly [Name in keyof C["bindings"]]: ArrayOf<C["bindings"][Name]>;
};

/** One run of a kernel's twin. */
export interface KernelRun<C extends KernelContract> {
  /** Contents of the bound buffers; the twin writes into those marked `write`. */
  readonly buffers: KernelArrays<C>;
  /** Every override constant. */
  readonly constants: { readonly [Name in keyof C["constants"]]: number };
  /** Every field of `Params`. */
  readonly params: { readonly [Name in keyof C["params"]]: number };
  /** Workgroups along x, y and z. */
  readonly grid: readonly [number, number, number];
}

/** A contract and the function that computes the same on the CPU. */
export type Kernel<C extends KernelContract = KernelContract> = C & {
  /** Computes in float64 what the WGSL computes, element by element, for reading rather than speed. */
  readonly reference: (run: KernelRun<C>) => void;
  /** WebAssembly for the CPU device, which calls the twin if there is none. */
  readonly cpu?: CpuCode<C>;
};

/**
 * Joins a contract with its twin so that buffer names and element types are checked by the compiler.
 *
 * @param contract Names, bindings, constants and parameters; write it with `as const`.
 * @param reference The twin.
 * @param cpu WebAssembly for the CPU device.
 * @returns The kernel.
 */
export function defineKernel<const C extends KernelContract>(
  contract: C,
  reference: (run: KernelRun<C>) => void,
  cpu?: CpuCode<C>,
): Kernel<C> {
  return { ...contract, reference, ...(cpu && { cpu }) };
}

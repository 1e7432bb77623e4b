/**
 * WebAssembly code as the CPU device gets it, and how a kernel says which of it to run.
 *
 * @module
 */

import type { ActivationBits } from "./device.ts";
import type { KernelContract, KernelRun } from "./kernel.ts";

/** Types of the fields of an entry's arguments; each takes 4 bytes. */
export type CpuField = "usize" | "u32" | "i32" | "f32";

/** Code of kernels, compiled together. */
export interface CpuModule {
  /** The binary; it imports a shared memory of 32-bit addresses as `env.memory`. */
  readonly base64: string;
  /**
   * Fields of the arguments of every entry, in the order of memory. A field has the name of a binding (its address), a
   * parameter, a constant or an extra, or is `scratch`, `thread_scratch` or `thread_bytes`.
   */
  readonly entries: Readonly<Record<string, Readonly<Record<string, CpuField>>>>;
  /**
   * Loads further code, which multiplies activations of 8 bits. It is apart because it has relaxed instructions, and does
   * not compile where WebAssembly lacks them. Absent if there is none.
   */
  readonly int8?: () => Promise<CpuModule>;
}

/** One pass: an entry called for ranges of items, by several threads at once; the next begins when all are done. */
export interface CpuPass {
  /** Name of the entry. */
  readonly entry: string;
  /** Items; no two may write the same element. */
  readonly items: number;
  /** About how many operations on vectors an item takes; decides how many items a thread takes at a time. */
  readonly work: number;
  /** Further fields, such as sizes that are found in the grid; none if left out. */
  readonly values?: Readonly<Record<string, number>>;
}

/** What decides how a kernel runs. */
export interface CpuRun<C extends KernelContract>
  extends Pick<KernelRun<C>, "constants" | "params" | "grid"> {
  /** Bits of activations that are multiplied by small integers. */
  readonly activationBits: ActivationBits;
}

/** How the CPU device runs a kernel. */
export interface CpuCode<C extends KernelContract = KernelContract> {
  /** Code of the entries. */
  readonly module: CpuModule;
  /** Further fields, such as sizes that the text of the WGSL is written for; none if left out. */
  readonly extras?: Readonly<Record<string, number>>;
  /** Passes of a run, one after the other. */
  passes(run: CpuRun<C>): readonly CpuPass[];
  /** Bytes of memory that passes hand over to later ones; none if left out. */
  scratchBytes?(run: CpuRun<C>): number;
  /** Bytes of memory that each thread has to itself; none if left out. */
  threadBytes?(run: CpuRun<C>): number;
}

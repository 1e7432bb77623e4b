/**
 * The one interface that everything above `gpu/` uses to store numbers and run kernels.
 *
 * @module
 */

import type { Kernel, KernelContract } from "./kernel.ts";

/** Back ends that `openDevice` knows. */
export type Backend = "webgpu" | "dawn" | "cpu" | "reference";

/** Back ends by name; `auto` takes `webgpu` or `cpu`. */
export const BACKENDS: readonly Backend[] = ["webgpu", "dawn", "cpu", "reference"];

/** Products of matrices that the lanes of a subgroup compute together: M × K times K × N. */
export interface SubgroupMatrixShape {
  /** Rows of the left matrix and of the product. */
  readonly M: number;
  /** Columns of the right matrix and of the product. */
  readonly N: number;
  /** Columns of the left matrix, and rows of the right one. */
  readonly K: number;
  /** Type of the elements that are multiplied: `f16`, `f32`, `i8` or `u8`. */
  readonly componentType: string;
  /** Type of the sums. */
  readonly resultComponentType: string;
}

/** Which shapes kernels take on a device, where the adapter's features alone are not to decide. */
export interface ShapeChoice {
  /** Name of a kind in the table of shapes; by features if left out. */
  readonly kind?: string;
  /** Tiles that were fastest when `deno task tune` timed them, by what they multiply; none if left out. */
  readonly products?: Readonly<Record<string, string>>;
  /** Tiles of attention that were fastest, by what they compute; none if left out. */
  readonly attention?: Readonly<Record<string, string>>;
}

/**
 * Bits to which activations are rounded before products: 8 are integers with a scale for each 32 of them; 16 are integers on
 * the CPU device, whose default they are, and halves with a scale for each row on WebGPU.
 */
export type ActivationBits = 8 | 16;

/** Their choices, the default of the CPU device first. */
export const ACTIVATION_BITS: readonly ActivationBits[] = [16, 8];

/** What a device says about itself; goes into every result. */
export interface DeviceInfo {
  /** Back end that runs the kernels. */
  readonly backend: Backend;
  /** Adapter name as the driver prints it. */
  readonly description: string;
  /** Driver and version in the driver's words; absent where there is none, or it cannot be known. */
  readonly driver?: string;
  /** Whether the adapter computes on the CPU. */
  readonly isSoftware: boolean;
  /** Optional features of WebGPU that the device has, sorted; absent where there is no driver. */
  readonly features?: readonly string[];
  /** What subgroups can multiply; absent where they cannot. */
  readonly subgroupMatrices?: readonly SubgroupMatrixShape[];
  /** Threads that compute, which change no bit of a result; absent where a driver decides. */
  readonly threads?: number;
  /**
   * Bits to which activations are rounded before products: of the CPU device always, elsewhere where they were asked for; absent
   * where products are of floats of 32 bits.
   */
  readonly activationBits?: ActivationBits;
  /** Lanes of a subgroup, 0 where subgroup functions are not available. */
  readonly subgroupSize: number;
  /** Bytes of memory that a workgroup may have. */
  readonly maxWorkgroupBytes: number;
  /** Most threads of a workgroup. */
  readonly maxWorkgroupThreads: number;
  /** Shapes of kernels; those of the table for its features if left out. */
  readonly shapes?: ShapeChoice;
  /** Largest binding of a storage buffer, in bytes. */
  readonly maxBindingBytes: number;
  /** Largest buffer, in bytes. */
  readonly maxBufferBytes: number;
  /** Most workgroups along one axis of a grid. */
  readonly maxGridSize: number;
  /** Most bytes that all buffers may take together; absent where only the driver knows. */
  readonly maxBytes?: number;
}

/** Says in the description of a device how it rounds activations because it was asked to; empty if it was not. */
export function roundingNote(bits: ActivationBits | undefined): string {
  return bits === undefined ? "" : `, ${bits}-bit activations`;
}

/**
 * Tells how a device rounds activations because it was asked to.
 *
 * @returns The bits; undefined where products are as exact as the device has them by default.
 */
export function askedActivationBits(
  { backend, activationBits }: Pick<DeviceInfo, "backend" | "activationBits">,
): ActivationBits | undefined {
  return backend === "cpu" && activationBits === ACTIVATION_BITS[0] ? undefined : activationBits;
}

/** Caps of a device, and the shapes of its kernels. */
export interface DeviceOptions {
  /**
   * Bits to which activations are rounded before products, which makes these faster and less exact; if left out, the CPU device
   * rounds to 16, and WebGPU does not round. With 8, weights of 8 bits and floats keep the default.
   */
  readonly activationBits?: ActivationBits;
  /** Shapes of kernels; those of the table for the adapter's features if left out. */
  readonly shapes?: ShapeChoice;
  /** Most bytes its buffers may take together; no cap if left out. */
  readonly maxBytes?: number;
  /** Lowers the largest binding, in bytes; for tests of what happens when a tensor exceeds it. */
  readonly maxBindingBytes?: number;
  /**
   * Features of WebGPU without which the device must not open, as `chromium-experimental-subgroup-matrix`; those that kernels
   * can use are asked for anyway. Counts for WebGPU and Dawn.
   */
  readonly requiredFeatures?: readonly string[];
}

/** Counters of a device at one moment, for memory reports and for tests that forbid hidden allocation. */
export interface DeviceUsage {
  /** Bytes of the buffers that exist now. */
  readonly liveBytes: number;
  /** Largest `liveBytes` so far. */
  readonly peakBytes: number;
  /** Buffers that exist now. */
  readonly liveBuffers: number;
  /** Buffers made so far. */
  readonly buffersCreated: number;
  /** Bind groups made so far. */
  readonly bindGroupsCreated: number;
  /** Calls of `submit` so far. */
  readonly submits: number;
  /** Awaited readbacks so far. */
  readonly reads: number;
  /** Calls of `finished` so far. */
  readonly waits: number;
}

/** A block of device memory; starts as zeros. */
export interface DeviceBuffer extends Disposable {
  /** What it holds; appears in errors. */
  readonly label: string;
  /** Size, a multiple of 4. */
  readonly byteLength: number;
}

/** Part of a buffer; `byteOffset` is a multiple of 256. */
export interface BufferWindow {
  /** The buffer looked into. */
  readonly buffer: DeviceBuffer;
  /** First byte. */
  readonly byteOffset: number;
  /** Number of bytes. */
  readonly byteLength: number;
}

/** A buffer or window for every binding of a kernel; the header of its WGSL says what each holds. */
export type DispatchBuffers<C extends KernelContract> = {
  readonly [Name in keyof C["bindings"]]: DeviceBuffer | BufferWindow;
};

/** Runs a kernel once. */
export interface Dispatch<C extends KernelContract = KernelContract> {
  /** Kernel to run. */
  readonly kernel: Kernel<C>;
  /** A buffer or window for every binding. */
  readonly buffers: DispatchBuffers<C>;
  /** Override constants that differ from their defaults. */
  readonly constants?: { readonly [Name in keyof C["constants"]]?: number };
  /** Every field of `Params`. */
  readonly params: { readonly [Name in keyof C["params"]]: number };
  /** Workgroups along x, y and z. */
  readonly grid: readonly [number, number, number];
}

/** Copies bytes between two buffers; offsets and length are multiples of 4. */
export interface BufferCopy {
  /** Where from. */
  readonly source: DeviceBuffer;
  /** First byte read. */
  readonly sourceOffset: number;
  /** Where to; another buffer than `source`. */
  readonly target: DeviceBuffer;
  /** First byte written. */
  readonly targetOffset: number;
  /** Bytes copied. */
  readonly byteLength: number;
}

/** One entry of a recording. */
export type Command = Dispatch | BufferCopy;

/** Commands with prepared pipelines, parameters and bind groups; may be submitted many times. */
export interface Recording extends Disposable {
  /** What it computes; appears in errors and traces. */
  readonly label: string;
}

/** Stores buffers and runs recordings, in order. */
export interface Device extends Disposable {
  /** Properties of the device. */
  readonly info: DeviceInfo;
  /** What it has allocated and done so far. */
  readonly usage: DeviceUsage;
  /**
   * Makes a buffer of zeros.
   *
   * @param label What it holds.
   * @param byteLength Size, rounded up to a multiple of 4.
   * @throws {GpuError} If the device has too little memory, naming what was needed.
   */
  createBuffer(label: string, byteLength: number): DeviceBuffer;
  /** Writes `data` from `byteOffset` on, ordered with submissions; both are multiples of 4 bytes. */
  write(buffer: DeviceBuffer, byteOffset: number, data: ArrayBufferView<ArrayBuffer>): void;
  /** Reads bytes once all earlier submissions have finished; rejects with the first error of the device. */
  read(buffer: DeviceBuffer, byteOffset?: number, byteLength?: number): Promise<ArrayBuffer>;
  /**
   * Compiles and binds commands.
   *
   * @throws {GpuError} If a kernel does not compile (`kernels/x.wgsl:LINE:COL: text`) or a limit is exceeded.
   */
  record(label: string, commands: readonly Command[]): Promise<Recording>;
  /**
   * Runs recordings one after the other in one submission.
   *
   * @throws {GpuError} If a recording or a buffer it uses was disposed, or the device was lost; errors that WebGPU finds
   *   later reach the next `record`, `read` or `finished`.
   */
  submit(...recordings: readonly Recording[]): void;
  /** Waits for everything submitted so far; rejects with the first error of the device. */
  finished(): Promise<void>;
  /** Frees every buffer and the device, as the end of `using` does. */
  close(): void;
}

/**
 * Checks the names and sizes of a dispatch while hiding its kernel's type, so that lists of commands can be built.
 *
 * @param dispatch A dispatch of a certain kernel; of its buffers those that the kernel does not bind are left out.
 * @returns The same, as a command.
 */
export function dispatch<C extends KernelContract>(dispatch: Dispatch<C>): Command {
  const { bindings } = dispatch.kernel;
  const bound = Object.entries(dispatch.buffers).filter(([name]) => name in bindings);
  return { ...dispatch, buffers: Object.fromEntries(bound) } as unknown as Command;
}

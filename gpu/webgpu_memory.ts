/**
 * Buffers of a WebGPU device, and the pool of buffers that carry results to the CPU.
 *
 * @module
 */

import { GpuError } from "../core/check.ts";
import type { DeviceBuffer } from "./device.ts";
import type { Meter } from "./meter.ts";
import { checkBuffer } from "./commands.ts";
import { type ErrorLog, oneLine } from "./webgpu_errors.ts";

/** Most bytes kept in unused readback buffers. */
const MAX_IDLE_BYTES = 64 * 2 ** 20;

/** Smallest readback buffer. */
const MIN_STAGING_BYTES = 256;

/** A buffer on a WebGPU device. */
export class WebgpuBuffer implements DeviceBuffer {
  /** Set if the device turned out to have too little memory for it. */
  failure: GpuError | undefined;
  /** Whether it was disposed. */
  isDestroyed = false;

  /** Wraps a buffer. */
  constructor(
    readonly memory: WebgpuMemory,
    readonly gpuBuffer: GPUBuffer,
    readonly label: string,
  ) {}

  /** Size in bytes. */
  get byteLength(): number {
    return this.gpuBuffer.size;
  }

  /** Frees the memory. */
  [Symbol.dispose](): void {
    this.memory.destroy(this);
  }
}

/** Makes, counts and frees the buffers of one device. */
export class WebgpuMemory {
  readonly #device: GPUDevice;
  readonly #errors: ErrorLog;
  readonly #meter: Meter;
  readonly #live = new Set<WebgpuBuffer>();
  readonly #idle: WebgpuBuffer[] = [];

  /** Starts empty. */
  constructor(device: GPUDevice, errors: ErrorLog, meter: Meter) {
    this.#device = device;
    this.#errors = errors;
    this.#meter = meter;
  }

  /**
   * Makes a buffer of zeros.
   *
   * @param size Bytes, a multiple of 4.
   * @returns The buffer; if the device lacks memory, its `failure` appears soon after.
   * @throws {GpuError} If the cap leaves too little, or the device says at once that it does.
   */
  create(label: string, size: number, usage: number): WebgpuBuffer {
    if (!this.#meter.fits(size)) this.#dropIdle();
    this.#meter.allocate(label, size);
    const onError = (cause: { readonly message: string }) => {
      const text = `the device must have ${size} bytes free: ${oneLine(cause.message)}`;
      return new GpuError(`Cannot allocate ${label}: ${text}`, { cause, isOutOfMemory: true });
    };
    const made: { buffer?: WebgpuBuffer } = {};
    try {
      const gpuBuffer = this.#errors.watch(
        () => this.#device.createBuffer({ label, size, usage }),
        (cause) => {
          const failure = onError(cause);
          if (made.buffer !== undefined) {
            made.buffer.failure = failure;
            this.destroy(made.buffer);
          }
          return failure;
        },
      );
      made.buffer = new WebgpuBuffer(this, gpuBuffer, label);
    } catch (error) {
      this.#meter.release(size);
      throw onError(error instanceof Error ? error : { message: String(error) });
    }
    this.#live.add(made.buffer);
    return made.buffer;
  }

  /**
   * Checks that a buffer of this device still exists.
   *
   * @returns The buffer as this device made it.
   * @throws {GpuError} If it was disposed, or the device had too little memory for it.
   * @throws {RequirementError} If another device made it.
   */
  own(action: string, buffer: DeviceBuffer): WebgpuBuffer {
    const own = buffer instanceof WebgpuBuffer && buffer.memory === this ? buffer : undefined;
    if (own?.failure !== undefined) throw own.failure;
    return checkBuffer(action, buffer.label, own);
  }

  /** Frees a buffer; does nothing the second time. */
  destroy(buffer: WebgpuBuffer): void {
    if (buffer.isDestroyed) return;
    buffer.isDestroyed = true;
    buffer.gpuBuffer.destroy();
    this.#live.delete(buffer);
    this.#meter.release(buffer.byteLength);
  }

  /** Frees everything. */
  destroyAll(): void {
    for (const buffer of [...this.#live]) this.destroy(buffer);
    this.#idle.length = 0;
  }

  /**
   * Returns a buffer that the CPU can read, reusing an idle one if possible.
   *
   * @returns A buffer that holds at least as many; hand it back with `recycle`.
   */
  staging(byteLength: number): WebgpuBuffer {
    const fits = (buffer: WebgpuBuffer) =>
      buffer.byteLength >= byteLength && buffer.byteLength <= 4 * byteLength + MIN_STAGING_BYTES;
    const index = this.#idle.findIndex(fits);
    if (index >= 0) return this.#idle.splice(index, 1)[0]!;
    const size = Math.max(MIN_STAGING_BYTES, 2 ** Math.ceil(Math.log2(byteLength)));
    const isKept = size <= MAX_IDLE_BYTES && this.#meter.fits(size);
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    return this.create("readback", isKept ? size : byteLength, usage);
  }

  /** Keeps a readback buffer for later, or frees it if enough are kept. */
  recycle(buffer: WebgpuBuffer): void {
    const idleBytes = this.#idle.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (buffer.isDestroyed) return;
    if (idleBytes + buffer.byteLength > MAX_IDLE_BYTES) this.destroy(buffer);
    else this.#idle.push(buffer);
  }

  #dropIdle(): void {
    for (const buffer of this.#idle.splice(0)) this.destroy(buffer);
  }
}

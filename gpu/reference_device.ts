/**
 * A device without a GPU: buffers are arrays, kernels are their float64 twins.
 *
 * @module
 */

import { checkInteger, GpuError } from "../core/check.ts";
import {
  boundWindows,
  checkAlive,
  checkBuffer,
  checkCommands,
  checkRange,
  checkRecording,
  isCopy,
} from "./commands.ts";
import type {
  BufferCopy,
  Command,
  Device,
  DeviceBuffer,
  DeviceInfo,
  DeviceOptions,
  DeviceUsage,
  Dispatch,
  Recording,
} from "./device.ts";
import { Meter } from "./meter.ts";
import { prepareTwin } from "./twin.ts";

class ReferenceBuffer implements DeviceBuffer {
  bytes: ArrayBuffer;
  isDestroyed = false;
  readonly byteLength: number;

  constructor(
    readonly label: string,
    byteLength: number,
    readonly meter: Meter,
    readonly siblings: Set<ReferenceBuffer>,
  ) {
    this.bytes = new ArrayBuffer(byteLength);
    this.byteLength = byteLength;
    siblings.add(this);
  }

  [Symbol.dispose](): void {
    if (this.isDestroyed) return;
    this.isDestroyed = true;
    this.bytes = new ArrayBuffer(0);
    this.siblings.delete(this);
    this.meter.release(this.byteLength);
  }
}

interface Step {
  readonly buffers: readonly ReferenceBuffer[];
  run(): void;
}

class ReferenceRecording implements Recording {
  isDestroyed = false;

  constructor(
    readonly label: string,
    readonly steps: readonly Step[],
    readonly meter: Meter,
  ) {}

  [Symbol.dispose](): void {
    this.isDestroyed = true;
  }
}

/** Runs kernels by calling their twins; `submit` returns when they are done. */
export class ReferenceDevice implements Device {
  /** Properties of the device. */
  readonly info: DeviceInfo;
  readonly #meter: Meter;
  readonly #buffers = new Set<ReferenceBuffer>();
  #isDisposed = false;

  /** Makes an empty device. */
  constructor(options: DeviceOptions = {}) {
    this.#meter = new Meter(options.maxBytes);
    this.info = {
      backend: "reference",
      description: "float64 reference on the CPU",
      isSoftware: true,
      subgroupSize: 0,
      maxWorkgroupBytes: 16384,
      maxWorkgroupThreads: 256,
      maxBindingBytes: Math.min(options.maxBindingBytes ?? 2 ** 30, 2 ** 30),
      maxBufferBytes: 2 ** 32,
      maxGridSize: 65535,
      ...(options.maxBytes !== undefined && { maxBytes: options.maxBytes }),
    };
  }

  /** What it has allocated and done so far. */
  get usage(): DeviceUsage {
    return this.#meter.usage;
  }

  /** Makes a buffer of zeros; see {@linkcode Device.createBuffer}. */
  createBuffer(label: string, byteLength: number): DeviceBuffer {
    checkAlive(`allocate ${label}`, this.#isDisposed);
    const max = this.info.maxBufferBytes;
    checkInteger(`allocate ${label}`, "byteLength", { value: byteLength, min: 1, max });
    const rounded = Math.ceil(byteLength / 4) * 4;
    this.#meter.allocate(label, rounded);
    try {
      return new ReferenceBuffer(label, rounded, this.#meter, this.#buffers);
    } catch (cause) {
      this.#meter.release(rounded);
      throw new GpuError(
        `Cannot allocate ${label}: the device must have ${rounded} bytes free: ${cause}`,
        { cause, isOutOfMemory: true },
      );
    }
  }

  /** Writes at once; see {@linkcode Device.write}. */
  write(buffer: DeviceBuffer, byteOffset: number, data: ArrayBufferView<ArrayBuffer>): void {
    checkAlive(`write ${buffer.label}`, this.#isDisposed);
    const target = this.#own(`write ${buffer.label}`, buffer);
    checkRange(`write ${buffer.label}`, buffer, { byteOffset, byteLength: data.byteLength });
    new Uint8Array(target.bytes, byteOffset).set(
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    );
  }

  /** Copies the bytes out; see {@linkcode Device.read}. */
  // deno-lint-ignore require-await -- errors must reject, as on other devices
  async read(
    buffer: DeviceBuffer,
    byteOffset = 0,
    byteLength: number = buffer.byteLength - byteOffset,
  ): Promise<ArrayBuffer> {
    checkAlive(`read ${buffer.label}`, this.#isDisposed);
    const source = this.#own(`read ${buffer.label}`, buffer);
    checkRange(`read ${buffer.label}`, buffer, { byteOffset, byteLength });
    this.#meter.count("reads");
    return source.bytes.slice(byteOffset, byteOffset + byteLength);
  }

  /** Checks commands and binds them to their arrays; see {@linkcode Device.record}. */
  // deno-lint-ignore require-await -- errors must reject, as on other devices
  async record(label: string, commands: readonly Command[]): Promise<Recording> {
    checkAlive(`record ${label}`, this.#isDisposed);
    checkCommands(label, commands, this.info);
    const steps = commands.map((command) =>
      isCopy(command) ? this.#copyStep(label, command) : this.#dispatchStep(label, command)
    );
    return new ReferenceRecording(label, steps, this.#meter);
  }

  /** Runs recordings before it returns; see {@linkcode Device.submit}. */
  submit(...recordings: readonly Recording[]): void {
    const action = `run ${recordings.map(({ label }) => label).join(", ")}`;
    checkAlive(action, this.#isDisposed);
    const own = recordings.map((recording) => this.#ownRecording(action, recording));
    this.#meter.count("submits");
    for (const { steps } of own) {
      for (const step of steps) step.run();
    }
  }

  /** Lets other tasks run once; see {@linkcode Device.finished}. */
  async finished(): Promise<void> {
    checkAlive("finish", this.#isDisposed);
    this.#meter.count("waits");
    await new Promise((resolve) => setTimeout(resolve, 0));
  }

  /** Frees every buffer. */
  close(): void {
    this.#isDisposed = true;
    for (const buffer of [...this.#buffers]) buffer[Symbol.dispose]();
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.close();
  }

  #own(action: string, buffer: DeviceBuffer): ReferenceBuffer {
    const isOwn = buffer instanceof ReferenceBuffer && buffer.meter === this.#meter;
    return checkBuffer(action, buffer.label, isOwn ? buffer : undefined);
  }

  #ownRecording(action: string, recording: Recording): ReferenceRecording {
    const isOwn = recording instanceof ReferenceRecording && recording.meter === this.#meter;
    const own = checkRecording(action, isOwn ? recording : undefined);
    for (const { buffers } of own.steps) {
      for (const buffer of buffers) this.#own(action, buffer);
    }
    return own;
  }

  #copyStep(label: string, copy: BufferCopy): Step {
    const source = this.#own(`record ${label}`, copy.source);
    const target = this.#own(`record ${label}`, copy.target);
    const { sourceOffset, targetOffset, byteLength } = copy;
    return {
      buffers: [source, target],
      run: () =>
        new Uint8Array(target.bytes).set(
          new Uint8Array(source.bytes, sourceOffset, byteLength),
          targetOffset,
        ),
    };
  }

  #dispatchStep(label: string, dispatch: Dispatch): Step {
    const buffers = boundWindows(dispatch).map(({ buffer }) =>
      this.#own(`record ${label}`, buffer)
    );
    const run = prepareTwin(label, dispatch, ({ buffer, byteOffset }) => ({
      memory: (buffer as ReferenceBuffer).bytes,
      start: byteOffset,
    }));
    return { buffers, run };
  }
}

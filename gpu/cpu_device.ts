/**
 * A device that computes with WebAssembly on the CPU's cores; needs no driver.
 *
 * Buffers lie in one memory. Recordings become programs in it, which threads run while the owner's thread stays free;
 * a kernel without WebAssembly runs as its twin between two programs.
 *
 * @module
 */

import { checkInteger, GpuError, RequirementError } from "../core/check.ts";
import {
  boundWindows,
  checkAlive,
  checkBuffer,
  checkCommands,
  checkRange,
  checkRecording,
  isCopy,
} from "./commands.ts";
import { CpuMemory } from "./cpu_memory.ts";
import type { CpuModule } from "./cpu_module.ts";
import { planDispatch, ProgramWriter } from "./cpu_program.ts";
import {
  allEntries,
  type CpuThreads,
  MAX_PROGRAMS,
  type Program,
  startThreads,
} from "./cpu_threads.ts";
import {
  ACTIVATION_BITS,
  type ActivationBits,
  askedActivationBits,
  type BufferCopy,
  type Command,
  type Device,
  type DeviceBuffer,
  type DeviceInfo,
  type DeviceOptions,
  type DeviceUsage,
  type Dispatch,
  type Recording,
  roundingNote,
} from "./device.ts";
import { Meter } from "./meter.ts";
import { prepareTwin } from "./twin.ts";

/** A block of the device's memory. */
class CpuBuffer implements DeviceBuffer {
  isDestroyed = false;

  constructor(
    readonly label: string,
    readonly byteLength: number,
    readonly address: number,
    readonly device: CpuDevice,
  ) {}

  [Symbol.dispose](): void {
    if (this.isDestroyed) return;
    this.isDestroyed = true;
    this.device.release(this);
  }
}

/** A program, or the twin of a kernel that has no code. */
type Part = Program | (() => void);

/** Scratch memory of recordings: no two run at the same time, so they share it. */
interface Scratch {
  readonly buffer: CpuBuffer;
  /** Recordings that use it. */
  users: number;
}

class CpuRecording implements Recording {
  isDestroyed = false;

  constructor(
    readonly label: string,
    readonly parts: readonly Part[],
    readonly buffers: readonly CpuBuffer[],
    /** Programs and arguments. */
    readonly memory: CpuBuffer,
    readonly scratch: Scratch | undefined,
  ) {}

  [Symbol.dispose](): void {
    if (this.isDestroyed) return;
    this.isDestroyed = true;
    this.memory[Symbol.dispose]();
    if (this.scratch !== undefined && --this.scratch.users === 0) {
      this.scratch.buffer[Symbol.dispose]();
    }
  }
}

/** Work in order; a promise if other threads do it. */
type Job = () => void | Promise<void>;

/** Options of {@linkcode CpuDevice}. */
export interface CpuDeviceOptions extends DeviceOptions {
  /**
   * Threads that compute, at most 64; the cores of the machine if left out. 0 computes in the calling thread, which then hears
   * nothing else meanwhile; so does a browser page that may not share memory.
   */
  readonly threads?: number;
}

/** Most threads. */
export const MAX_THREADS = 64;
/** What programs, scratch memory and gaps between buffers may take of the memory that addresses reach. */
const OTHER_BYTES = 2 ** 28;

/** As many as the machine has cores. */
function defaultThreads(): number {
  return Math.min(navigator.hardwareConcurrency, MAX_THREADS);
}

/** Runs kernels as WebAssembly. */
export class CpuDevice implements Device {
  /** Properties of the device. */
  readonly info: DeviceInfo;
  readonly #meter: Meter;
  readonly #memory: CpuMemory;
  readonly #threadCount: number;
  readonly #activationBits: ActivationBits;
  readonly #buffers = new Set<CpuBuffer>();
  /** Scratch memory that the next recording uses if it is large enough and still there. */
  #scratch: Scratch | undefined;
  #module: CpuModule | undefined;
  /** Of all code, once it runs. */
  #entries: CpuModule["entries"] | undefined;
  #threads: Promise<CpuThreads> | undefined;
  #running: CpuThreads | undefined;
  #jobs: Job[] = [];
  #isBusy = false;
  #idle = Promise.withResolvers<void>();
  #failure: GpuError | undefined;
  #isDisposed = false;

  /**
   * Makes an empty device; threads start with the first recording.
   *
   * @throws {RequirementError} If the number of threads is none that it can have, or that of bits neither 8 nor 16.
   * @throws {GpuError} If WebAssembly lacks vector instructions here, or relaxed ones for 8 bits.
   */
  constructor(options: CpuDeviceOptions = {}) {
    const { threads = defaultThreads(), activationBits = ACTIVATION_BITS[0]! } = options;
    checkInteger("open a device", "threads", { value: threads, min: 0, max: MAX_THREADS });
    checkInstructions(activationBits);
    this.#activationBits = activationBits;
    const isShared = typeof SharedArrayBuffer === "function" && "waitAsync" in Atomics;
    this.#threadCount = isShared ? threads : 0;
    this.#meter = new Meter(options.maxBytes);
    this.#memory = new CpuMemory(isShared);
    this.info = {
      backend: "cpu",
      description: `WebAssembly on the CPU${
        roundingNote(askedActivationBits({ backend: "cpu", activationBits }))
      }`,
      threads: Math.max(1, this.#threadCount),
      activationBits,
      isSoftware: true,
      subgroupSize: 0,
      maxWorkgroupBytes: 16384,
      maxWorkgroupThreads: 256,
      maxBindingBytes: Math.min(options.maxBindingBytes ?? 2 ** 32 - 4, 2 ** 32 - 4),
      maxBufferBytes: 2 ** 32 - 4,
      maxGridSize: 65535,
      maxBytes: Math.min(options.maxBytes ?? Infinity, 2 ** 32 - OTHER_BYTES),
    };
  }

  /** What it has allocated and done so far. */
  get usage(): DeviceUsage {
    return this.#meter.usage;
  }

  /** Makes a buffer of zeros; see {@linkcode Device.createBuffer}. */
  createBuffer(label: string, byteLength: number): DeviceBuffer {
    this.#begin(`allocate ${label}`);
    const max = this.info.maxBufferBytes;
    checkInteger(`allocate ${label}`, "byteLength", { value: byteLength, min: 1, max });
    return this.#allocate(label, Math.ceil(byteLength / 4) * 4);
  }

  /** Writes at once if nothing runs, else behind what runs; see {@linkcode Device.write}. */
  write(buffer: DeviceBuffer, byteOffset: number, data: ArrayBufferView<ArrayBuffer>): void {
    const action = `write ${buffer.label}`;
    this.#begin(action);
    const { address } = this.#own(action, buffer);
    checkRange(action, buffer, { byteOffset, byteLength: data.byteLength });
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const kept = this.#isBusy ? bytes.slice() : bytes;
    this.#enqueue(() => this.#memory.bytes.set(kept, address + byteOffset));
  }

  /** Copies the bytes out; see {@linkcode Device.read}. */
  async read(
    buffer: DeviceBuffer,
    byteOffset = 0,
    byteLength: number = buffer.byteLength - byteOffset,
  ): Promise<ArrayBuffer> {
    const action = `read ${buffer.label}`;
    this.#begin(action);
    const { address } = this.#own(action, buffer);
    checkRange(action, buffer, { byteOffset, byteLength });
    this.#meter.count("reads");
    const copy = new Uint8Array(byteLength);
    const start = address + byteOffset;
    this.#enqueue(() => copy.set(this.#memory.bytes.subarray(start, start + byteLength)));
    await this.#settle();
    return copy.buffer;
  }

  /** Writes programs and their arguments into memory; see {@linkcode Device.record}. */
  async record(label: string, commands: readonly Command[]): Promise<Recording> {
    const action = `record ${label}`;
    this.#begin(action);
    checkCommands(label, commands, this.info);
    const buffers = this.#buffersOf(action, commands);
    const module = commands.find((command) => !isCopy(command) && command.kernel.cpu);
    if (module !== undefined) await this.#start((module as Dispatch).kernel.cpu!.module);
    this.#begin(action);
    return this.#makeRecording(label, commands, buffers);
  }

  /** Queues recordings; see {@linkcode Device.submit}. */
  submit(...recordings: readonly Recording[]): void {
    const action = `run ${recordings.map(({ label }) => label).join(", ")}`;
    this.#begin(action);
    const own = recordings.map((recording) => this.#ownRecording(action, recording));
    this.#meter.count("submits");
    let programs: Program[] = [];
    const flush = () => {
      const job = programs;
      if (job.length > 0) this.#enqueue(() => this.#running!.run(job));
      programs = [];
    };
    for (const part of own.flatMap(({ parts }) => parts)) {
      if (typeof part === "function" || programs.length === MAX_PROGRAMS) flush();
      if (typeof part === "function") this.#enqueue(part);
      else programs.push(part);
    }
    flush();
  }

  /** Waits for the queue; see {@linkcode Device.finished}. */
  async finished(): Promise<void> {
    this.#begin("finish");
    this.#meter.count("waits");
    await this.#settle();
    await new Promise((resolve) => setTimeout(resolve, 0));
  }

  /** Ends the threads and frees every buffer. */
  close(): void {
    this[Symbol.dispose]();
  }

  /** Does what `close` does. */
  [Symbol.dispose](): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#jobs = [];
    for (const buffer of [...this.#buffers]) buffer[Symbol.dispose]();
    this.#threads?.then((threads) => threads[Symbol.dispose](), () => {});
  }

  /** Frees the memory of a disposed buffer once nothing that was submitted can touch it. */
  release(buffer: CpuBuffer): void {
    this.#buffers.delete(buffer);
    this.#meter.release(buffer.byteLength);
    if (this.#isDisposed) return;
    this.#enqueue(() => this.#memory.free(buffer.address, buffer.byteLength));
  }

  #begin(action: string): void {
    checkAlive(action, this.#isDisposed);
    if (this.#failure !== undefined) throw this.#failure;
  }

  #allocate(label: string, byteLength: number): CpuBuffer {
    this.#meter.allocate(label, byteLength);
    const address = this.#memory.allocate(byteLength);
    if (address === undefined) {
      this.#meter.release(byteLength);
      throw new GpuError(
        `Cannot allocate ${label}: the CPU device must have ${byteLength} bytes free below 4 GiB: current use is ${this.usage.liveBytes} bytes`,
        { isOutOfMemory: true },
      );
    }
    const buffer = new CpuBuffer(label, byteLength, address, this);
    this.#buffers.add(buffer);
    return buffer;
  }

  /** Starts the threads once; kernels of one device share their code. */
  async #start(module: CpuModule): Promise<void> {
    this.#module ??= module;
    if (this.#module !== module) {
      throw new GpuError("Cannot record: kernels of one device must share one CpuModule");
    }
    this.#threads ??= this.#startThreads(module).catch((error: unknown) => {
      this.#threads = undefined;
      throw error;
    });
    this.#running = await this.#threads;
  }

  async #startThreads(module: CpuModule): Promise<CpuThreads> {
    const int8 = this.#activationBits === 8 ? await module.int8?.() : undefined;
    const modules = int8 === undefined ? [module] : [module, int8];
    this.#entries = allEntries(modules);
    return await startThreads(modules, this.#memory, this.#threadCount);
  }

  #buffersOf(action: string, commands: readonly Command[]): CpuBuffer[] {
    return commands.flatMap((command) =>
      isCopy(command)
        ? [command.source, command.target]
        : boundWindows(command).map(({ buffer }) => buffer)
    ).map((buffer) => this.#own(action, buffer));
  }

  #makeRecording(
    label: string,
    commands: readonly Command[],
    buffers: readonly CpuBuffer[],
  ): CpuRecording {
    const addressOf = (buffer: DeviceBuffer) => (buffer as CpuBuffer).address;
    const options = { addressOf, activationBits: this.#activationBits };
    const planned = commands.map((command) => {
      const isCode = this.#running !== undefined && (isCopy(command) || command.kernel.cpu);
      if (isCode) return planDispatch(command, options);
      return isCopy(command) ? this.#copy(command) : this.#twin(label, command);
    });
    const writer = new ProgramWriter(planned.filter((item) => typeof item !== "function"), {
      entries: this.#entries ?? {},
      threads: this.#running?.count ?? 1,
    });
    using stack = new DisposableStack();
    const memory = stack.use(this.#allocate(`program of ${label}`, writer.bytes.length));
    const scratch = this.#shareScratch(label, writer.scratchBytes);
    writer.place(memory.address, scratch?.buffer.address ?? 0);
    const parts: Part[] = [];
    for (const item of planned) {
      if (typeof item === "function") parts.push(...writer.takeProgram(), item);
      else writer.add(item);
    }
    parts.push(...writer.takeProgram());
    this.#enqueue(() => this.#memory.bytes.set(writer.bytes, memory.address));
    stack.move();
    return new CpuRecording(label, parts, buffers, memory, scratch);
  }

  /** Takes part in the scratch memory that there is, or in a new one if it is too small. */
  #shareScratch(label: string, byteLength: number): Scratch | undefined {
    if (byteLength === 0) return undefined;
    let scratch = this.#scratch;
    if (!scratch || scratch.users === 0 || scratch.buffer.byteLength < byteLength) {
      scratch = { buffer: this.#allocate(`scratch memory of ${label}`, byteLength), users: 0 };
      this.#scratch = scratch;
    }
    scratch.users++;
    return scratch;
  }

  #copy({ source, sourceOffset, target, targetOffset, byteLength }: BufferCopy): () => void {
    const start = (source as CpuBuffer).address + sourceOffset;
    const to = (target as CpuBuffer).address + targetOffset;
    return () => {
      this.#memory.bytes.copyWithin(to, start, start + byteLength);
    };
  }

  /** Runs the twin of a kernel on the memory itself. */
  #twin(label: string, dispatch: Dispatch): () => void {
    return prepareTwin(label, dispatch, ({ buffer, byteOffset }) => ({
      memory: this.#memory.bytes.buffer,
      start: (buffer as CpuBuffer).address + byteOffset,
    }));
  }

  #own(action: string, buffer: DeviceBuffer): CpuBuffer {
    const isOwn = buffer instanceof CpuBuffer && buffer.device === this;
    return checkBuffer(action, buffer.label, isOwn ? buffer : undefined);
  }

  #ownRecording(action: string, recording: Recording): CpuRecording {
    const isOwn = recording instanceof CpuRecording && recording.memory.device === this;
    const own = checkRecording(action, isOwn ? recording : undefined);
    for (const buffer of own.buffers) this.#own(action, buffer);
    return own;
  }

  /** Runs a job now if nothing runs, else behind everything queued. */
  #enqueue(job: Job): void {
    this.#jobs.push(job);
    if (!this.#isBusy) this.#runJobs();
  }

  #runJobs(): void {
    while (this.#jobs.length > 0) {
      try {
        const running = this.#jobs.shift()!();
        if (running === undefined) continue;
        this.#isBusy = true;
        running.then(() => this.#resume(), (error) => this.#fail(error));
        return;
      } catch (error) {
        this.#fail(error);
      }
    }
    this.#isBusy = false;
    this.#idle.resolve();
    this.#idle = Promise.withResolvers();
  }

  #resume(): void {
    this.#isBusy = false;
    this.#runJobs();
  }

  /** Keeps the first error for whoever waits; nothing runs after it. */
  #fail(error: unknown): void {
    this.#failure ??= error instanceof GpuError
      ? error
      : new GpuError(`Cannot compute: the code must return: ${error}`, { cause: error });
    this.#jobs = [];
    this.#resume();
  }

  async #settle(): Promise<void> {
    if (this.#isBusy) await this.#idle.promise;
    if (this.#failure !== undefined && !this.#isDisposed) throw this.#failure;
    checkAlive("compute", this.#isDisposed);
  }
}

/** Fails where WebAssembly lacks the instructions of the code. */
function checkInstructions(activationBits: ActivationBits): void {
  if (!ACTIVATION_BITS.includes(activationBits)) {
    throw new RequirementError({
      action: "open a device",
      requirement: `activationBits must be one of ${ACTIVATION_BITS.join(", ")}`,
      current: activationBits,
    });
  }
  // Some browsers switch WebAssembly off altogether where they are locked down.
  if (!globalThis.WebAssembly?.validate(SIMD_PROBE)) {
    throw new GpuError(
      "Cannot open the CPU device: WebAssembly must have 128-bit vectors: current support is none: use a newer browser or processor, or the device webgpu",
    );
  }
  if (activationBits === 8 && !WebAssembly.validate(RELAXED_PROBE)) {
    throw new GpuError(
      "Cannot open the CPU device with 8-bit activations: WebAssembly must have relaxed SIMD: current support is none",
    );
  }
}

/** The smallest module with a vector instruction. */
const SIMD_PROBE = Uint8Array.from(
  [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253]
    .concat([15, 253, 98, 11]),
);

/** The smallest module with the relaxed instruction that products need, `i16x8.relaxed_dot_i8x16_i7x16_s`. */
const RELAXED_PROBE = Uint8Array.from(
  [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 0, 253]
    .concat([15, 65, 0, 253, 15, 253, 146, 2, 11]),
);

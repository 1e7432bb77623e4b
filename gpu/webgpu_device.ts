/**
 * The device on WebGPU: Deno's own, Dawn's, or a browser's.
 *
 * @module
 */

import { checkInteger, GpuError } from "../core/check.ts";
import {
  boundWindows,
  checkCommands,
  checkRange,
  checkRecording,
  completeConstants,
  isCopy,
  packParams,
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
import type { OpenGpu } from "./webgpu_adapter.ts";
import { ErrorLog, failure } from "./webgpu_errors.ts";
import { type WebgpuBuffer, WebgpuMemory } from "./webgpu_memory.ts";
import { PARAMS_BYTES, type Pipeline, PipelineCache } from "./webgpu_pipelines.ts";

/** Larger writes are cut into pieces, so that the copies WebGPU makes of them stay small. */
const WRITE_BYTES = 4 * 2 ** 20;

/** Runs kernels on a GPU, or on a software adapter. */
export class WebgpuDevice implements Device {
  /** Properties of the device. */
  readonly info: DeviceInfo;
  readonly #device: GPUDevice;
  readonly #meter: Meter;
  readonly #errors: ErrorLog;
  readonly #memory: WebgpuMemory;
  readonly #pipelines: PipelineCache;

  /** Takes over an open device. */
  constructor(gpu: OpenGpu, options: DeviceOptions = {}) {
    const { maxBytes, maxBindingBytes = Number.POSITIVE_INFINITY, shapes } = options;
    this.info = {
      ...gpu.info,
      maxBindingBytes: Math.min(gpu.info.maxBindingBytes, maxBindingBytes),
      ...(maxBytes !== undefined && { maxBytes }),
      ...(shapes !== undefined && { shapes }),
    };
    this.#device = gpu.device;
    this.#meter = new Meter(maxBytes);
    this.#errors = new ErrorLog(gpu.device);
    this.#memory = new WebgpuMemory(gpu.device, this.#errors, this.#meter);
    this.#pipelines = new PipelineCache(gpu.device, this.#errors, gpu);
  }

  /** What it has allocated and done so far. */
  get usage(): DeviceUsage {
    return this.#meter.usage;
  }

  /** Makes a buffer of zeros; see {@linkcode Device.createBuffer}. */
  createBuffer(label: string, byteLength: number): DeviceBuffer {
    this.#errors.begin(`allocate ${label}`);
    checkInteger(`allocate ${label}`, "byteLength", { value: byteLength, min: 1 });
    const size = Math.ceil(byteLength / 4) * 4;
    if (size > this.info.maxBufferBytes) {
      throw new GpuError(
        `Cannot allocate ${label}: a buffer must have at most ${this.info.maxBufferBytes} bytes: current value is ${size}`,
        { isOutOfMemory: true },
      );
    }
    const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
    return this.#memory.create(label, size, STORAGE | COPY_SRC | COPY_DST);
  }

  /** Writes in pieces; see {@linkcode Device.write}. */
  write(buffer: DeviceBuffer, byteOffset: number, data: ArrayBufferView<ArrayBuffer>): void {
    const action = `write ${buffer.label}`;
    this.#errors.begin(action);
    const target = this.#memory.own(action, buffer);
    const { byteLength } = data;
    checkRange(action, buffer, { byteOffset, byteLength });
    const { queue } = this.#device;
    const writePieces = () => {
      for (let start = 0; start < byteLength; start += WRITE_BYTES) {
        const size = Math.min(WRITE_BYTES, byteLength - start);
        const first = data.byteOffset + start;
        queue.writeBuffer(target.gpuBuffer, byteOffset + start, data.buffer, first, size);
        if (byteLength > WRITE_BYTES) queue.submit([]);
      }
    };
    this.#errors.watch(writePieces, (error) => failure(action, "WebGPU must accept it", error));
  }

  /** Copies to a readback buffer at once, then waits; see {@linkcode Device.read}. */
  async read(
    buffer: DeviceBuffer,
    byteOffset = 0,
    byteLength: number = buffer.byteLength - byteOffset,
  ): Promise<ArrayBuffer> {
    const action = `read ${buffer.label}`;
    this.#errors.begin(action);
    const source = this.#memory.own(action, buffer);
    checkRange(action, buffer, { byteOffset, byteLength });
    this.#meter.count("reads");
    const staging = this.#memory.staging(byteLength);
    const encoder = this.#device.createCommandEncoder({ label: action });
    const submitCopy = () => {
      encoder.copyBufferToBuffer(source.gpuBuffer, byteOffset, staging.gpuBuffer, 0, byteLength);
      this.#device.queue.submit([encoder.finish()]);
    };
    this.#errors.watch(submitCopy, (error) => failure(action, "WebGPU must accept it", error));
    try {
      return await this.#map(action, staging, byteLength);
    } finally {
      this.#memory.recycle(staging);
    }
  }

  /** Compiles, packs parameters, makes bind groups; see {@linkcode Device.record}. */
  async record(label: string, commands: readonly Command[]): Promise<Recording> {
    const action = `record ${label}`;
    this.#errors.begin(action);
    checkCommands(label, commands, this.info);
    const buffers = this.#buffersOf(action, commands);
    const dispatches = commands.filter((command): command is Dispatch => !isCopy(command));
    const words = dispatches.map(({ kernel, params }) => packParams(kernel, params));
    const pipelines = await Promise.all(
      dispatches.map(({ kernel, constants }) =>
        this.#pipelines.get(kernel, completeConstants(kernel, constants))
      ),
    );
    await this.#errors.settle();
    this.#errors.begin(action);
    const params = this.#writeParams(label, words);
    const ready = new Map(dispatches.map((dispatch, index) => [dispatch, pipelines[index]!]));
    try {
      const steps = await this.#errors.check(
        () => this.#makeSteps(commands, ready, params),
        (error) => failure(action, "WebGPU must accept its bindings", error),
      );
      return new WebgpuRecording(label, { memory: this.#memory, steps, buffers, params });
    } catch (error) {
      params?.[Symbol.dispose]();
      throw error;
    }
  }

  /** Encodes recordings into one submission; see {@linkcode Device.submit}. */
  submit(...recordings: readonly Recording[]): void {
    const action = `run ${recordings.map(({ label }) => label).join(", ")}`;
    this.#errors.begin(action);
    const own = recordings.map((recording) => ownRecording(action, recording, this.#memory));
    const submitAll = () => {
      const encoder = this.#device.createCommandEncoder({ label: action });
      encode(encoder, own);
      this.#device.queue.submit([encoder.finish()]);
    };
    this.#meter.count("submits");
    this.#errors.watch(submitAll, (error) => failure(action, "WebGPU must accept it", error));
  }

  /** Waits for the queue; see {@linkcode Device.finished}. */
  async finished(): Promise<void> {
    this.#errors.begin("finish");
    this.#meter.count("waits");
    await this.#errors.settle();
    await this.#device.queue.onSubmittedWorkDone();
    await this.#errors.settle();
  }

  /** Frees every buffer and the device. */
  close(): void {
    this.#errors.dispose();
    this.#memory.destroyAll();
    this.#device.destroy();
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.close();
  }

  #buffersOf(action: string, commands: readonly Command[]): Set<WebgpuBuffer> {
    const buffers = new Set<WebgpuBuffer>();
    for (const command of commands) {
      const used = isCopy(command)
        ? [command.source, command.target]
        : boundWindows(command).map(({ buffer }) => buffer);
      for (const buffer of used) buffers.add(this.#memory.own(action, buffer));
    }
    return buffers;
  }

  #writeParams(
    label: string,
    words: readonly Uint32Array<ArrayBuffer>[],
  ): WebgpuBuffer | undefined {
    if (words.every(({ length }) => length === 0)) return undefined;
    const packed = new Uint32Array(words.length * PARAMS_BYTES / 4);
    for (const [index, fields] of words.entries()) packed.set(fields, index * PARAMS_BYTES / 4);
    const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
    const buffer = this.#memory.create(`params of ${label}`, packed.byteLength, usage);
    this.#device.queue.writeBuffer(buffer.gpuBuffer, 0, packed);
    return buffer;
  }

  #makeSteps(
    commands: readonly Command[],
    pipelines: ReadonlyMap<Dispatch, Pipeline>,
    params: WebgpuBuffer | undefined,
  ): RecordingParts["steps"] {
    let dispatches = 0;
    const paramsGroup = this.#paramsGroup(params);
    return commands.map((command) => {
      if (isCopy(command)) {
        const source = (command.source as WebgpuBuffer).gpuBuffer;
        return { ...command, source, target: (command.target as WebgpuBuffer).gpuBuffer };
      }
      const pipeline = pipelines.get(command)!;
      const paramsOffset = [PARAMS_BYTES * dispatches++] as const;
      return {
        pipeline: pipeline.gpuPipeline,
        storageGroup: this.#storageGroup(command, pipeline),
        paramsGroup: pipeline.hasParams ? paramsGroup : undefined,
        paramsOffset,
        grid: command.grid,
      } satisfies DispatchStep;
    });
  }

  #storageGroup(dispatch: Dispatch, pipeline: Pipeline): GPUBindGroup {
    this.#meter.count("bindGroupsCreated");
    return this.#device.createBindGroup({
      label: dispatch.kernel.name,
      layout: pipeline.storageLayout,
      entries: boundWindows(dispatch).map(({ buffer, byteOffset, byteLength }, binding) => ({
        binding,
        resource: {
          buffer: (buffer as WebgpuBuffer).gpuBuffer,
          offset: byteOffset,
          size: byteLength,
        },
      })),
    });
  }

  #paramsGroup(params: WebgpuBuffer | undefined): GPUBindGroup | undefined {
    if (params === undefined) return undefined;
    this.#meter.count("bindGroupsCreated");
    return this.#device.createBindGroup({
      label: params.label,
      layout: this.#pipelines.paramsLayout,
      entries: [{ binding: 0, resource: { buffer: params.gpuBuffer, size: PARAMS_BYTES } }],
    });
  }

  async #map(action: string, staging: WebgpuBuffer, byteLength: number): Promise<ArrayBuffer> {
    try {
      await staging.gpuBuffer.mapAsync(GPUMapMode.READ, 0, byteLength);
    } catch (cause) {
      await this.#errors.settle();
      this.#errors.begin(action);
      throw failure(action, "the device must be able to hand it over", cause as Error);
    }
    this.#errors.begin(action);
    const bytes = staging.gpuBuffer.getMappedRange(0, byteLength).slice(0);
    staging.gpuBuffer.unmap();
    await this.#errors.settle();
    return bytes;
  }
}

/** A prepared dispatch. */
interface DispatchStep {
  /** What to run. */
  readonly pipeline: GPUComputePipeline;
  /** Storage buffers. */
  readonly storageGroup: GPUBindGroup;
  /** Parameters of the whole recording; none if the kernel has none. */
  readonly paramsGroup: GPUBindGroup | undefined;
  /** Where the parameters of this dispatch start. */
  readonly paramsOffset: readonly [number];
  /** Workgroups along x, y and z. */
  readonly grid: readonly [number, number, number];
}

/** A prepared copy. */
interface CopyStep extends Omit<BufferCopy, "source" | "target"> {
  readonly source: GPUBuffer;
  readonly target: GPUBuffer;
}

/** What a recording of a WebGPU device holds. */
interface RecordingParts {
  /** Memory of the device that the recording belongs to. */
  readonly memory: WebgpuMemory;
  /** The commands. */
  readonly steps: readonly (DispatchStep | CopyStep)[];
  /** Every buffer the commands touch. */
  readonly buffers: ReadonlySet<WebgpuBuffer>;
  /** Parameters of all dispatches; freed with the recording. */
  readonly params: WebgpuBuffer | undefined;
}

/** A recording of a WebGPU device. */
class WebgpuRecording implements Recording {
  /** Whether it was disposed. */
  isDestroyed = false;

  constructor(readonly label: string, readonly parts: RecordingParts) {}

  /** Frees the parameters; the bound buffers stay. */
  [Symbol.dispose](): void {
    this.isDestroyed = true;
    this.parts.params?.[Symbol.dispose]();
  }
}

/** Checks that a recording and its buffers can be used by the device of a memory. */
function ownRecording(
  action: string,
  recording: Recording,
  memory: WebgpuMemory,
): WebgpuRecording {
  const isOwn = recording instanceof WebgpuRecording && recording.parts.memory === memory;
  const own = checkRecording(action, isOwn ? recording : undefined);
  for (const buffer of own.parts.buffers) memory.own(action, buffer);
  return own;
}

/** Encodes recordings one after the other; only a copy ends a compute pass. */
function encode(encoder: GPUCommandEncoder, recordings: readonly WebgpuRecording[]): void {
  let pass: GPUComputePassEncoder | undefined;
  let pipeline: GPUComputePipeline | undefined;
  for (const { parts } of recordings) {
    for (const step of parts.steps) {
      if (!("pipeline" in step)) {
        pass?.end();
        pass = undefined;
        pipeline = undefined;
        const { source, sourceOffset, target, targetOffset, byteLength } = step;
        encoder.copyBufferToBuffer(source, sourceOffset, target, targetOffset, byteLength);
        continue;
      }
      // Nothing to run, which Dawn would warn of on standard error.
      if (step.grid.includes(0)) continue;
      pass ??= encoder.beginComputePass();
      if (pipeline !== step.pipeline) pass.setPipeline(step.pipeline);
      pipeline = step.pipeline;
      pass.setBindGroup(0, step.storageGroup);
      if (step.paramsGroup !== undefined) {
        pass.setBindGroup(1, step.paramsGroup, step.paramsOffset as [number]);
      }
      pass.dispatchWorkgroups(...step.grid);
    }
  }
  pass?.end();
}

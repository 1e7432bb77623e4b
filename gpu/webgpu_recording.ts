/**
 * Commands of a WebGPU device made ready, and how they are encoded.
 *
 * @module
 */

import type { Recording } from "./device.ts";
import { checkRecording } from "./ownership.ts";
import type { WebgpuBuffer, WebgpuMemory } from "./webgpu_memory.ts";

/** A dispatch made ready. */
export interface DispatchStep {
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

/** A copy made ready. */
export interface CopyStep {
  /** Where from. */
  readonly source: GPUBuffer;
  /** First byte read. */
  readonly sourceOffset: number;
  /** Where to. */
  readonly target: GPUBuffer;
  /** First byte written. */
  readonly targetOffset: number;
  /** Bytes copied. */
  readonly byteLength: number;
}

/** What a recording of a WebGPU device holds. */
export interface RecordingParts {
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
export class WebgpuRecording implements Recording {
  /** Whether it was disposed. */
  isDestroyed = false;

  /**
   * Keeps the parts.
   *
   * @param label What it computes.
   * @param parts Its commands and buffers.
   */
  constructor(readonly label: string, readonly parts: RecordingParts) {}

  /** Frees the parameters; the bound buffers stay. */
  [Symbol.dispose](): void {
    this.isDestroyed = true;
    this.parts.params?.[Symbol.dispose]();
  }
}

/**
 * Checks that a recording and its buffers can be used.
 *
 * @param action What could not be done.
 * @param recording Any recording.
 * @param memory Memory of the device that is asked.
 * @returns The recording as the device made it.
 * @throws {GpuError} If it or a buffer was disposed, or it belongs to another device.
 */
export function ownRecording(
  action: string,
  recording: Recording,
  memory: WebgpuMemory,
): WebgpuRecording {
  const made = recording instanceof WebgpuRecording ? recording : undefined;
  const isOwn = made?.parts.memory === memory;
  checkRecording(action, { isOwn, isDestroyed: made?.isDestroyed ?? false });
  for (const buffer of made!.parts.buffers) memory.own(action, buffer);
  return made!;
}

/**
 * Encodes recordings one after the other; only a copy ends a compute pass.
 *
 * @param encoder Where to.
 * @param recordings What.
 */
export function encode(encoder: GPUCommandEncoder, recordings: readonly WebgpuRecording[]): void {
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

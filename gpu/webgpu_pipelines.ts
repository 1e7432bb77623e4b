/**
 * Compiles kernels once per set of constants and rewords their compile errors.
 *
 * @module
 */

import { GpuError } from "../core/check.ts";
import { PromiseCache } from "../core/promise_cache.ts";
import type { KernelContract } from "./kernel.ts";
import { type ErrorLog, failure, oneLine } from "./webgpu_errors.ts";

/** A compiled kernel and the layouts that its bind groups must have. */
export interface Pipeline {
  /** The compiled kernel. */
  readonly gpuPipeline: GPUComputePipeline;
  /** Layout of group 0, the storage buffers. */
  readonly storageLayout: GPUBindGroupLayout;
  /** Whether group 1 holds parameters. */
  readonly hasParams: boolean;
}

/** Bytes of the uniform buffer that a dispatch sees. */
export const PARAMS_BYTES = 256;

/** All pipelines of one device. */
export class PipelineCache {
  /** Layout of group 1 of every kernel with parameters: a window of one buffer, at a dynamic offset. */
  readonly paramsLayout: GPUBindGroupLayout;
  readonly #device: GPUDevice;
  readonly #errors: ErrorLog;
  readonly #subgroupDirective: string;
  readonly #storageLayouts = new Map<string, GPUBindGroupLayout>();
  readonly #pipelines = new Map<string, PromiseCache<string, Pipeline>>();

  /**
   * Starts empty.
   *
   * @param options What to put before shaders that call subgroup functions.
   */
  constructor(
    device: GPUDevice,
    errors: ErrorLog,
    options: { readonly subgroupDirective: string },
  ) {
    this.#device = device;
    this.#errors = errors;
    this.#subgroupDirective = options.subgroupDirective;
    this.paramsLayout = device.createBindGroupLayout({
      label: "params",
      entries: [{
        binding: 0,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: "uniform", hasDynamicOffset: true, minBindingSize: PARAMS_BYTES },
      }],
    });
  }

  /**
   * Returns the pipeline of a kernel, which the first call compiles.
   *
   * @throws {GpuError} If the WGSL does not compile or needs more than the device has.
   */
  get(kernel: KernelContract, constants: Readonly<Record<string, number>>): Promise<Pipeline> {
    this.#checkLimits(kernel);
    const variants = this.#pipelines.get(kernel.wgsl) ?? new PromiseCache<string, Pipeline>();
    this.#pipelines.set(kernel.wgsl, variants);
    const { name, bindings, params } = kernel;
    const key = JSON.stringify([name, bindings, params, constants]);
    return variants.get(key, () => this.#make(kernel, constants));
  }

  async #make(
    kernel: KernelContract,
    constants: Readonly<Record<string, number>>,
  ): Promise<Pipeline> {
    const module = await this.#compile(kernel);
    const storageLayout = this.#storageLayout(kernel);
    const hasParams = Object.keys(kernel.params).length > 0;
    const gpuPipeline = await this.#errors.check(
      () =>
        this.#device.createComputePipeline({
          label: kernel.name,
          layout: this.#device.createPipelineLayout({
            label: kernel.name,
            bindGroupLayouts: hasParams ? [storageLayout, this.paramsLayout] : [storageLayout],
          }),
          compute: { module, entryPoint: kernel.name, constants },
        }),
      (error) => failure(`compile ${fileOf(kernel)}`, "it must fit its contract", error),
    );
    return { gpuPipeline, storageLayout, hasParams };
  }

  #checkLimits(kernel: KernelContract): void {
    const { limits } = this.#device;
    const needs = [
      ["storage buffers", Object.keys(kernel.bindings).length, "maxStorageBuffersPerShaderStage"],
      ["bytes of workgroup memory", kernel.workgroupBytes ?? 0, "maxComputeWorkgroupStorageSize"],
    ] as const;
    for (const [what, value, limit] of needs) {
      if (value <= limits[limit]) continue;
      throw new GpuError(
        `Cannot compile ${fileOf(kernel)}: it must use at most ${
          limits[limit]
        } ${what}: current value is ${value}`,
      );
    }
  }

  async #compile(kernel: KernelContract): Promise<GPUShaderModule> {
    const extensions = kernel.extensions ?? [];
    const prefix = `${kernel.subgroupSize === undefined ? "" : this.#subgroupDirective}${
      extensions.map((name) => `enable ${name}; `).join("")
    }`;
    const file = fileOf(kernel);
    this.#device.pushErrorScope("validation");
    const { name: label, wgsl } = kernel;
    const module = this.#device.createShaderModule({ label, code: prefix + wgsl });
    const popped = this.#device.popErrorScope();
    const { messages } = await module.getCompilationInfo();
    const error = await popped;
    const texts = messages.filter(({ type }) => type === "error").map((message) =>
      `${position(file, message, prefix.length)}: ${messageText(message.message)}`
    );
    if (texts.length > 0) throw new GpuError(`Cannot compile ${texts.join("\n")}`);
    if (error !== null) throw new GpuError(`Cannot compile ${file}: ${messageText(error.message)}`);
    return module;
  }

  #storageLayout(kernel: KernelContract): GPUBindGroupLayout {
    const accesses = Object.values(kernel.bindings).map((binding) => binding.split(" ")[0]!);
    const key = accesses.join(" ");
    const known = this.#storageLayouts.get(key);
    if (known !== undefined) return known;
    const layout = this.#device.createBindGroupLayout({
      label: key,
      entries: accesses.map((access, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: access === "write" ? "storage" : "read-only-storage" },
      })),
    });
    this.#storageLayouts.set(key, layout);
    return layout;
  }
}

function fileOf(kernel: KernelContract): string {
  return `kernels/${kernel.name}.wgsl`;
}

function position(file: string, message: GPUCompilationMessage, prefixLength: number): string {
  const { lineNum, linePos } = message;
  if (lineNum === 0) return file;
  return `${file}:${lineNum}:${lineNum === 1 ? Math.max(1, linePos - prefixLength) : linePos}`;
}

/** Removes the source that Deno's compiler draws around a message; the message, its labels and its notes stay. */
function messageText(message: string): string {
  const kept = message.split("\n").map((line) => line.trim()).filter((line) =>
    line !== "" && !/^(┌─|│|\d+ │ )/.test(line) || /[\^]+ \S/.test(line)
  );
  const texts = kept.map((line) =>
    line.replace(/^Shader '.*?' (parsing|validation) error: /, "")
      .replace(/^Shader validation error: /, "")
      .replace(/^│[\s│╭╰─]*[\^]+ /, "")
      .replace(/^= (note: )?/, "")
  );
  return oneLine(texts.join("\n"));
}

/**
 * Compiles every kernel with Tint, the WGSL compiler of Chromium, on Dawn's device that runs nothing; prints one JSON
 * object: kernels by name, each with its errors and warnings.
 *
 * Runs as a separate process, since Dawn keeps its process alive. Exits with 3 where Dawn cannot be loaded.
 *
 * @module
 */

import { type Kernel, WGSL_EXTENSIONS } from "../../gpu/kernel.ts";
import * as everything from "../../kernels/mod.ts";

/** Dawn aborts the process once its entry object has been collected. */
const held: unknown[] = [];

function isKernel(value: unknown): value is Kernel {
  const kernel = value as Partial<Kernel> | null;
  return typeof kernel === "object" && typeof kernel?.wgsl === "string";
}

function allKernels(): Kernel[] {
  const kernels: Kernel[] = [];
  for (const [name, value] of Object.entries<unknown>(everything)) {
    if (isKernel(value)) kernels.push(value);
    if (name.endsWith("Samples")) {
      kernels.push(...(typeof value === "function" ? value() : value as Kernel[]));
    }
  }
  return kernels;
}

/** Undefined where its library cannot be loaded. */
async function loadDawn(): Promise<typeof import("webgpu") | undefined> {
  try {
    return await import("webgpu");
  } catch (error) {
    console.error(`Tint is not available: ${error}`);
    return undefined;
  }
}

async function main(): Promise<number> {
  const dawn = await loadDawn();
  if (!dawn) return 3;
  Object.assign(globalThis, dawn.globals);
  const gpu = dawn.create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
  held.push(gpu);
  const adapter = await gpu.requestAdapter();
  const requiredFeatures = ["subgroups", ...Object.values(WGSL_EXTENSIONS)] as GPUFeatureName[];
  const device = await adapter!.requestDevice({ requiredFeatures });
  const problems: Record<string, string[]> = {};
  for (const { name, wgsl, subgroupSize, extensions = [] } of allKernels()) {
    device.pushErrorScope("validation");
    const enabled = [...(subgroupSize === undefined ? [] : ["subgroups"]), ...extensions];
    const code = enabled.map((extension) => `enable ${extension};\n`).join("") + wgsl;
    const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
    await device.popErrorScope();
    problems[name] = messages.filter(({ type }) => type !== "info")
      .map(({ lineNum, linePos, message }) => `${lineNum}:${linePos}: ${message}`);
  }
  console.log(JSON.stringify(problems));
  return 0;
}

if (import.meta.main) Deno.exit(await main());
